"""OpenAI's own names of models: what they stand for here, and what their clients expect in an answer."""

from typing import Literal

ImageField = Literal["url", "b64_json"]

# Source: openai-python 3.52, `openai/types/image_model.py`.
OPENAI_NAMES = (
    "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "gpt-image-2-2026-04-21",
    "gpt-image-2.5-sunburst", "gpt-image-2.5-sunburst-2026-09-08", "gpt-image-2.5-flare",
    "gpt-image-2.5-flare-2026-09-08", "gpt-image-2.6-sunburst", "gpt-image-2.6-flare", "chatgpt-image-latest",
    "dall-e-2", "dall-e-3",
)  # fmt: skip
# Theirs never return addresses; the clients of all others read either.
BASE64_ONLY = ("gpt-image", "chatgpt-image")
BASE64: tuple[ImageField, ...] = ("b64_json",)
BOTH: tuple[ImageField, ...] = ("b64_json", "url")


def image_fields(model: str | None, response_format: ImageField | None) -> tuple[ImageField, ...]:
    """Return the fields of an image in the answer to a request that names `model` and asks for `response_format`."""
    if response_format is not None:
        return (response_format,)
    return BASE64 if (model or "").lower().startswith(BASE64_ONLY) else BOTH
