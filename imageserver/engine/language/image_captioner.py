"""Captions of images, which a text encoder writes that is a whole vision-language model."""

import logging
from typing import Any

from PIL import Image

from imageserver.engine.language.language_model import LanguageModel, Pause
from imageserver.enhancement.answer import prompt_in
from imageserver.errors import GenerationFailed
from imageserver.generation import CaptionForm

logger = logging.getLogger(__name__)

# About twice what is asked for.
MAX_TOKENS = 160
REQUESTS: dict[CaptionForm, str] = {
    "sentence": (
        "Describe this image in English, in one sentence of at most 60 words that an image generator could use as its "
        "prompt: the subject, what it does, the surroundings, the light, the style of the image. Quote text that is "
        "clearly visible. Describe only what can be seen, and answer with the sentence alone."
    ),
    "tags": (
        "List at most 30 short English tags for this image, the most important first, in lower case, separated by "
        "commas: the subjects, what they do, their attributes, the surroundings, the colours, the style of the image. "
        "Name only what can be seen, and answer with the tags alone."
    ),
}


class ImageCaptioner:
    """Asks a model about an image with the chat template of its own processor."""

    def __init__(self, model: LanguageModel, processor: Any) -> None:
        self._model = model
        self._processor = processor

    def write(self, form: CaptionForm, image: Image.Image, pause: Pause) -> str:
        """Return the caption of an image; raises GenerationFailed, and whatever the model or `pause` raise."""
        inputs = self._processor(text=[asked(self._processor, form)], images=[image], return_tensors="pt")
        answer = prompt_in(self._model.answer(inputs, MAX_TOKENS, pause))
        if form == "tags":
            # The likeliest word after a tag may be the same tag again.
            answer = ", ".join(dict.fromkeys(tag for part in answer.split(",") if (tag := part.strip(" .").lower())))
        if not answer:
            raise GenerationFailed("The model wrote nothing about the image.")
        return answer


def asked(processor: Any, form: CaptionForm) -> str:
    """Return the conversation that the caption ends, with one token for the image."""
    content = [{"type": "image"}, {"type": "text", "text": REQUESTS[form]}]
    messages = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def open_image_captioner(model: LanguageModel | None, processor: Any, *, stays: bool) -> ImageCaptioner | None:
    """Return what describes images with a model's text encoder; None where it reads none.

    None also where it does not stay on the device: each token needs all of its weights.
    """
    template = getattr(processor, "chat_template", None)
    if model is None or not stays or not template:
        return None
    return ImageCaptioner(model, processor) if _reads_images(processor) else None


def _reads_images(processor: Any) -> bool:
    """Return whether a processor has a token for an image, and a template that shows it once."""
    token = getattr(processor, "image_token", None)
    if not token:
        return False
    try:
        return asked(processor, "sentence").count(token) == 1
    except Exception as error:
        # Some are published with the template of a model that reads texts alone; their models generate all the same.
        logger.info("The template of the model's processor takes no image, so it describes none: %s", error)
        return False
