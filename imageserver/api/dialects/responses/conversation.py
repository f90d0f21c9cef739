"""What the input of a response says: messages, and images of earlier calls, by content or by id."""

from functools import partial
from typing import Any

from imageserver.api.dialects.responses import image_memory
from imageserver.api.dialects.responses.bodies import ImageTool, ResponsesBody
from imageserver.api.generation.conversation import (
    ASSISTANT,
    MASK,
    USER,
    ConversationMessage,
    Sources,
    last_question,
    read_message,
    sources_of,
)
from imageserver.api.services import Services
from imageserver.errors import BadRequest, InvalidParameter
from imageserver.generation import ModelInfo

INPUT, PREVIOUS = "input", "previous_response_id"
MESSAGE, REFERENCE = "message", "item_reference"
IMAGE_CALL = "image_generation_call"


def read(service: Services, body: ResponsesBody, tool: ImageTool, info: ModelInfo | None) -> tuple[str, Sources]:
    """Return the prompt, and the images that it is about; raises BadRequest, InvalidParameter."""
    question = last_question(service, _messages(service, body), INPUT)
    if tool.action == "generate":
        return question.prompt, Sources(None, [])
    sources = sources_of(service, question, info, mask=_mask(tool))
    if tool.action == "edit" and sources.init_image is None:
        raise BadRequest("The action edit needs an image in input, or previous_response_id.", param=INPUT)
    return question.prompt, sources


def _messages(service: Services, body: ResponsesBody) -> list[ConversationMessage]:
    messages = []
    if body.previous_response_id is not None:
        messages.append(_remembered(service, body.previous_response_id, PREVIOUS))
    if isinstance(body.input, str):
        return [*messages, ConversationMessage(USER, body.input)]
    for item in body.input:
        kind = item.get("type", MESSAGE)
        if kind == MESSAGE:
            messages.append(read_message(item, INPUT))
        elif kind == IMAGE_CALL and isinstance(item.get("result"), str):
            messages.append(ConversationMessage(ASSISTANT, images=(item["result"],)))
        elif kind == IMAGE_CALL or _refers_to_call(kind, item):
            messages.append(_remembered(service, str(item.get("id")), INPUT))
        # Calls of other tools and their results, and reasoning, are no part of what is asked for.
    return messages


def _refers_to_call(kind: Any, item: dict[str, Any]) -> bool:
    return kind == REFERENCE and str(item.get("id")).startswith(image_memory.IMAGE_CALL)


def _remembered(service: Services, name: str, param: str) -> ConversationMessage:
    key = image_memory.image_key(name, param=param)
    # Only the last image of a conversation is read; those before it may be gone.
    images = () if key is None else (partial(image_memory.find, service, key, param=param),)
    return ConversationMessage(ASSISTANT, images=images)


def _mask(tool: ImageTool) -> str | None:
    given = tool.input_image_mask
    if given is None:
        return None
    if given.image_url is None:
        raise InvalidParameter(f"{MASK} needs an image_url: this server stores no uploaded files.", param=MASK)
    return given.image_url
