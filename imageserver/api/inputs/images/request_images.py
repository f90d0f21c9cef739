"""The images of a native body, which a JSON object or a form contains."""

from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict

from imageserver.api.inputs.controls import ControlChoices
from imageserver.api.inputs.images.control_image import ControlImage
from imageserver.api.inputs.images.image_bytes import fetch, fetch_all, read_upload, read_uploads
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.validation import validated
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter

# OpenAI's own limit.
MAX_IMAGES = 16

NO_FILES: MultiDict[str, FileStorage] = MultiDict()


@dataclass(frozen=True)
class Images:
    """The image that a generation starts from, and those that guide it."""

    init_image: InitImage | None = None
    control_images: tuple[ControlImage, ...] = ()


def read_images(service: Services, content: Any, files: MultiDict[str, FileStorage] = NO_FILES) -> Images:
    """Return the images of a request; files go before the fields of `content`, which is not validated yet.

    Raises InvalidParameter naming the field and its limit.
    """
    given = content if isinstance(content, dict) else {}
    images = read_uploads(files, service.settings, name="image", max_count=MAX_IMAGES)
    if not images and isinstance(given.get("image"), str | list):
        images = fetch_all(service, given["image"], name="image", max_count=MAX_IMAGES)
    mask, control = (_one(service, given, files, name) for name in ("mask", "control_image"))
    if mask is not None and not images:
        raise InvalidParameter("mask needs an image to cover.", param="mask")
    return Images(
        InitImage(image=images[0], further=tuple(images[1:]), mask=mask) if images else None,
        _controls(service, given, control),
    )


def _controls(service: Services, given: dict[str, Any], control: bytes | None) -> tuple[ControlImage, ...]:
    units = validated(ControlChoices, {"controls": given.get("controls")}).controls or []
    if control is not None and units:
        raise InvalidParameter("controls and control_image exclude each other; put it into controls.", param="controls")
    if control is not None:
        return (ControlImage(image=control),)
    return tuple(
        ControlImage(image=fetch(service, unit.image, name="controls"), name="controls", options=unit) for unit in units
    )


def _one(service: Services, given: dict[str, Any], files: MultiDict[str, FileStorage], name: str) -> bytes | None:
    if name in files:
        return read_upload(files[name], service.settings, name=name)
    return fetch(service, given[name], name=name) if isinstance(given.get(name), str) else None
