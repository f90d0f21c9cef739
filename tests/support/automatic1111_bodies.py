"""Bodies as clients of AUTOMATIC1111 send them, and what they become."""

from typing import Any

from imageserver.api.dialects.automatic1111.bodies import (
    GeneratingBody,
    Img2ImgBody,
    Txt2ImgBody,
    checked,
    to_generate_fields,
)
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None, max_images=4, max_steps=100, max_prompt_chars=200)


def txt2img(**content: Any) -> Txt2ImgBody:
    return checked(Txt2ImgBody, content, SETTINGS)


def img2img(**content: Any) -> Img2ImgBody:
    return checked(Img2ImgBody, {"init_images": ["aGk="], **content}, SETTINGS)


def native(body: GeneratingBody) -> dict[str, Any]:
    """Return the fields of `/generate` with the same meaning."""
    return to_generate_fields(body, "png", "")
