"""A conversation as OpenAI's clients send it: its last question is the prompt, the last image the one to start from.

Parts are read in the spelling of either of OpenAI's APIs, since clients mix them. Source: openai-python 3.52,
`openai/types/chat` and `openai/types/responses`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from imageserver.api.generation import saved_images
from imageserver.api.generation.saved_images import ImageReader, SentImage
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import MAX_IMAGES
from imageserver.api.inputs.validation import shown
from imageserver.api.services import Services
from imageserver.errors import BadRequest, Forbidden, InvalidParameter, NotFound
from imageserver.generation import ModelInfo

USER, ASSISTANT = "user", "assistant"
# The only field for a mask that a conversation has.
MASK = "input_image_mask"
TEXTS = ("text", "input_text", "output_text")
IMAGES = ("image_url", "input_image")


@dataclass(frozen=True)
class ConversationMessage:
    """What one side said: its text, its images, and the kinds of parts that this server does not read."""

    role: str
    text: str = ""
    images: tuple[SentImage, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """The last thing that the user asked for: `images` came with it, `earlier` is the last one before.

    `field` is the field of the conversation, which errors name.
    """

    prompt: str
    images: tuple[SentImage, ...]
    earlier: SentImage | None
    unread: tuple[str, ...]
    field: str


@dataclass(frozen=True)
class Sources:
    """The images that a question is about, and warnings."""

    init_image: InitImage | None
    warnings: list[str]


def read_message(message: dict[str, Any], field: str) -> ConversationMessage:
    """Return what a message says; raises InvalidParameter for what could only be a mistake."""
    content, role = message.get("content"), message.get("role", USER)
    parts = list(content) if isinstance(content, list) else [content]
    # OpenRouter's clients send generated images back as they got them, Ollama's send base64.
    further = message.get("images")
    for each in further if isinstance(further, list) else ():
        parts.append({"type": "image_url", "image_url": each} if isinstance(each, str) else each)
    texts: list[str] = []
    images: list[SentImage] = []
    unread: list[str] = []
    for part in parts:
        if not isinstance(part, dict):
            texts += [part] if isinstance(part, str) else []
        elif part.get("type") in TEXTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") in IMAGES:
            images.append(_address_in(part, field))
        else:
            unread.append(shown(part.get("type")))
    return ConversationMessage(role if isinstance(role, str) else USER, "\n".join(texts), tuple(images), tuple(unread))


def last_question(service: Services, messages: Sequence[ConversationMessage], field: str) -> Question:
    """Return what the user asked for last; raises BadRequest where that has no text."""
    asked = next((index for index in reversed(range(len(messages))) if messages[index].role == USER), None)
    if asked is None or not messages[asked].text.strip():
        raise BadRequest(f"{field} needs a text in its last message of the user: it is the prompt.", param=field)
    message = messages[asked]
    earlier = next((image for before in reversed(messages[:asked]) for image in _images_of(service, before)), None)
    return Question(message.text, message.images, earlier, message.unread, field)


def sources_of(service: Services, question: Question, info: ModelInfo | None, *, mask: str | None = None) -> Sources:
    """Return the images that a question starts from: its own, or else the last one before it.

    An earlier image is left out, with a warning, where it can no longer be read or the model generates from text alone.
    Raises Forbidden and NotFound for an own image, and InvalidParameter naming the field of the conversation.
    """
    reader = ImageReader(service)
    warnings = [f"A part of the type {kind} was ignored." for kind in question.unread]
    if len(question.images) > MAX_IMAGES:
        raise InvalidParameter(
            f"{question.field}: {len(question.images)} images were sent; the limit is {MAX_IMAGES}.",
            param=question.field,
        )
    images = [reader.read(image, name=question.field) for image in question.images]
    if not images and question.earlier is not None:
        if info is not None and {"image", "edit"}.isdisjoint(info.kinds):
            warnings.append("The last image is ignored: the model generates from text alone.")
        else:
            images, about_earlier = _earlier(reader, question.earlier, question.field)
            warnings += about_earlier
    if not images:
        if mask is not None:
            raise InvalidParameter(f"{MASK} needs an image to cover.", param=MASK)
        return Sources(None, warnings)
    init_image = InitImage(
        image=images[0],
        further=tuple(images[1:]),
        mask=None if mask is None else reader.read(mask, name=MASK),
        transparent_means_edit=mask is not None,
        names=(question.field, MASK),
    )
    return Sources(init_image, warnings)


def _images_of(service: Services, message: ConversationMessage) -> Iterable[SentImage]:
    """Return the images of a message, the last one first; answers may contain only the addresses of theirs."""
    linked = (
        saved_images.linked_image(service, message.text) if message.role == ASSISTANT and not message.images else None
    )
    return [linked] if linked is not None else reversed(message.images)


def _earlier(reader: ImageReader, image: SentImage, field: str) -> tuple[list[bytes], list[str]]:
    try:
        return [reader.read(image, name=field)], []
    except NotFound:
        return [], ["The last image is no longer saved, so a new one was generated."]
    except Forbidden:
        # Nobody can take it out of a conversation: one expired address would end all of it.
        return [], ["The address of the last image is not valid (any more), so a new one was generated."]


def _address_in(part: dict[str, Any], field: str) -> str:
    given = part.get("image_url")
    address = given.get("url") if isinstance(given, dict) else given
    if not isinstance(address, str):
        raise InvalidParameter(f"{field}: an image needs an image_url; this server stores no files.", param=field)
    return address
