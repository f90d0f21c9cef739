"""The images of a request, under every name that clients send them."""

import itertools
import re

from flask import request

from imageserver.api.dialects.openai_images.bodies import IMAGE_FIELDS, EditsBody, ImagesBody, VariationsBody
from imageserver.api.inputs.images.image_bytes import fetch, read_upload
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import MAX_IMAGES
from imageserver.api.inputs.openai_options import ImageReference
from imageserver.api.services import Services
from imageserver.errors import BadRequest, InvalidParameter

# The SDK sends one image as `image` and a list as `image[]`; other clients number the list.
IMAGE_PART = re.compile(rf"({'|'.join(IMAGE_FIELDS)})(\[\d{{0,3}}\])?", re.ASCII)
MASK_PARTS = ("mask", "mask_image")
# As OpenAI's own limit.
MAX_VARIATION_IMAGES = 1

Named = str | ImageReference


def read(service: Services, body: VariationsBody) -> InitImage:
    """Return the images of a form or a JSON body, and the mask of the first one; raises BadRequest, InvalidParameter.

    An edit without a mask regenerates what is transparent in the image.
    """
    found = read_if_sent(service, body)
    if found is None:
        raise BadRequest("image is missing: send it as a file, as base64 or as a data URL.", param="image")
    return found


def read_if_sent(service: Services, body: ImagesBody) -> InitImage | None:
    """Return the same, or None where there is no image; raises InvalidParameter."""
    uploads = [file for name, files in request.files.lists() if IMAGE_PART.fullmatch(name) for file in files]
    named = addresses_in(body)
    edits, count = isinstance(body, EditsBody), len(uploads) + len(named)
    max_count = MAX_VARIATION_IMAGES if isinstance(body, VariationsBody) and not edits else MAX_IMAGES
    if not count:
        return None
    # Checked before any of them is fetched: they may be web addresses.
    if count > max_count:
        raise InvalidParameter(f"image: {count} images were sent; the limit is {max_count}.", param="image")
    images = [read_upload(file, service.settings, name="image") for file in uploads]
    images += [fetch(service, given, name="image") for given in named]
    return InitImage(
        image=images[0],
        further=tuple(images[1:]),
        mask=_mask(service, body) if isinstance(body, EditsBody) else None,
        transparent_means_edit=edits,
    )


def unknown_files() -> set[str]:
    """Return the names of the files of this request that are neither an image nor a mask."""
    return {name for name in request.files if not (IMAGE_PART.fullmatch(name) or name in MASK_PARTS)}


def addresses_in(body: ImagesBody) -> list[str]:
    """Return the images that a body names, as base64 or addresses; raises InvalidParameter for the id of a file."""
    fields = [getattr(body, name) for name in IMAGE_FIELDS]
    lists = [given if isinstance(given, list) else [given] for given in fields if given is not None]
    return [_address_of(given, "image") for given in itertools.chain.from_iterable(lists)]


def _mask(service: Services, body: EditsBody) -> bytes | None:
    for name in MASK_PARTS:
        if name in request.files:
            return read_upload(request.files[name], service.settings, name="mask")
    given = next((each for each in (body.mask, body.mask_image) if each is not None), None)
    return None if given is None else fetch(service, _address_of(given, "mask"), name="mask")


def _address_of(given: Named, name: str) -> str:
    text = given if isinstance(given, str) else given.image_url
    if text is None:
        raise InvalidParameter(f"{name} needs an image_url: this server stores no uploaded files.", param=name)
    return text
