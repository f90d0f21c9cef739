"""The images of an edit or a variation, under every name that clients send them."""

import re
from collections.abc import Iterator

from flask import request

from imageserver.api.dialects.openai_images.bodies import EditsBody, VariationsBody
from imageserver.api.inputs.images.image_bytes import fetch, read_upload
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import MAX_IMAGES
from imageserver.api.inputs.openai_options import ImageReference
from imageserver.api.services import Services
from imageserver.errors import BadRequest, InvalidParameter

# The SDK sends one image as `image` and a list as `image[]`; other clients number the list.
IMAGE_PART = re.compile(r"images?(\[\d{0,3}\])?")
MASK_PARTS = ("mask", "mask_image")
# As OpenAI's own limit.
MAX_VARIATION_IMAGES = 1

Named = str | ImageReference


def read(service: Services, body: VariationsBody) -> InitImage:
    """Return the images of a form or a JSON body, and the mask of the first one; raises BadRequest, InvalidParameter.

    An edit without a mask regenerates what is transparent in the image.
    """
    edits = isinstance(body, EditsBody)
    uploads = [file for name, files in request.files.lists() if IMAGE_PART.fullmatch(name) for file in files]
    named, max_count = list(_named_images(body)), MAX_IMAGES if edits else MAX_VARIATION_IMAGES
    count = len(uploads) + len(named)
    if not count:
        raise BadRequest("image is missing: send it as a file, as base64 or as a data URL.", param="image")
    # Checked before any of them is fetched: they may be web addresses.
    if count > max_count:
        raise InvalidParameter(f"image: {count} images were sent; the limit is {max_count}.", param="image")
    images = [read_upload(file, service.settings, name="image") for file in uploads]
    images += [_bytes_of(service, given, "image") for given in named]
    return InitImage(
        image=images[0],
        further=tuple(images[1:]),
        mask=_mask(service, body) if isinstance(body, EditsBody) else None,
        transparent_means_edit=edits,
    )


def unknown_files() -> set[str]:
    """Return the names of the files of this request that are neither an image nor a mask."""
    return {name for name in request.files if not (IMAGE_PART.fullmatch(name) or name in MASK_PARTS)}


def _named_images(body: VariationsBody) -> Iterator[Named]:
    for given in (body.images, body.image, body.image_url, body.url):
        if isinstance(given, str):
            yield given
        elif given is not None:
            yield from given


def _mask(service: Services, body: EditsBody) -> bytes | None:
    for name in MASK_PARTS:
        if name in request.files:
            return read_upload(request.files[name], service.settings, name="mask")
    given = next((each for each in (body.mask, body.mask_image) if each is not None), None)
    return None if given is None else _bytes_of(service, given, "mask")


def _bytes_of(service: Services, given: Named, name: str) -> bytes:
    """Return the bytes of an image in JSON, given as text or as a reference."""
    text = given if isinstance(given, str) else given.image_url
    if text is None:
        raise InvalidParameter(f"{name} needs an image_url: this server stores no uploaded files.", param=name)
    return fetch(service, text, name=name)
