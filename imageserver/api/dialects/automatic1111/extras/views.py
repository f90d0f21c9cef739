"""The routes of the extras: images that exist already are enlarged.

Source: stable-diffusion-webui 1.10, `modules/api/api.py`.
"""

import base64
import math
from collections.abc import Callable

import msgspec
from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, Field

from imageserver.api.captions.caption import caption
from imageserver.api.captions.models import captions_model
from imageserver.api.dialects.automatic1111.extras.bodies import (
    BatchImagesBody,
    ExtrasBody,
    InterrogateBody,
    SingleImageBody,
)
from imageserver.api.dialects.automatic1111.number_texts import with_numbers
from imageserver.api.inputs.images.image_bytes import fetch
from imageserver.api.inputs.images.init_image import MAX_INPUT_RATIO
from imageserver.api.inputs.json_body import as_object, read_json
from imageserver.api.inputs.validation import validated, without_nulls
from imageserver.api.operations import GENERATING_ERRORS, documented
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.api.upscaling.enlarge import enlarge
from imageserver.api.wsgi.bodies.arriving import hold
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.errors import InvalidParameter

blueprint = Blueprint("extras", __name__)

ERRORS = (400, 413, 422, 429, 500, 503, 504)


class SingleImageResponse(BaseModel):
    """The image as a PNG in base64."""

    html_info: str = Field(description="Empty.")
    image: str


class BatchImagesResponse(BaseModel):
    """The images as PNGs in base64, in the order in which they were sent."""

    html_info: str = Field(description="Empty.")
    images: list[str]


class InterrogateResponse(BaseModel):
    """What is seen in an image."""

    caption: str


@blueprint.post("/sdapi/v1/extra-single-image")
@documented(body=SingleImageBody, response=SingleImageResponse, errors=ERRORS)
def single_image() -> Response:
    """Enlarge an image with Lanczos."""
    service = services()
    body = validated(SingleImageBody, with_numbers(SingleImageBody, without_nulls(as_object(read_json()))))
    enlarged = enlarge(service, fetch(service, body.image, name="image"), body.enlargement(), name="image")

    def encoded() -> bytes:
        return msgspec.json.encode({"html_info": "", "image": base64.b64encode(enlarged).decode()})

    return _json(service, encoded, body)


@blueprint.post("/sdapi/v1/extra-batch-images")
@documented(body=BatchImagesBody, response=BatchImagesResponse, errors=ERRORS)
def batch_images() -> Response:
    """Enlarge several images with Lanczos."""
    service = services()
    body = validated(BatchImagesBody, with_numbers(BatchImagesBody, without_nulls(as_object(read_json()))))
    if len(body.imageList) > service.settings.max_images:
        raise InvalidParameter(
            f"imageList has {len(body.imageList)} images; the limit is {service.settings.max_images} (MAX_IMAGES).",
            param="imageList",
        )
    enlarged = _enlarged_together(service, body)

    def encoded() -> bytes:
        images = [base64.b64encode(data).decode() for data in enlarged]
        return msgspec.json.encode({"html_info": "", "images": images})

    return _json(service, encoded, body)


@blueprint.post("/sdapi/v1/interrogate")
@documented(body=InterrogateBody, response=InterrogateResponse, errors=GENERATING_ERRORS)
def interrogate() -> Response:
    """Describe an image in a sentence or in tags, where a loaded model can."""
    service = services()
    model = captions_model(service)
    body = validated(InterrogateBody, without_nulls(as_object(read_json())))
    form, image = body.form, fetch(service, body.image, name="image")
    return jsonify(caption=caption(service, image, form, model, name="image", dialect="automatic1111"))


def _enlarged_together(service: Services, body: BatchImagesBody) -> list[bytes]:
    """Return the files of a batch, which together may have as many pixels as one image: the answer holds them all."""
    wanted, limit = body.enlargement(), MAX_INPUT_RATIO * service.settings.max_pixels
    files, pixels = list[bytes](), 0
    for index, each in enumerate(body.imageList):
        name = f"imageList[{index}]"
        files.append(enlarge(service, fetch(service, each.data, name=name), wanted, name=name))
        # Of the finished file: an image may be turned by its EXIF.
        pixels += service.thread_pool.run(_pixels_of, files[-1], limit)
        if pixels > limit:
            raise InvalidParameter(
                f"{name}: the images up to this one have {pixels} pixels; the limit is {limit} together, "
                f"{MAX_INPUT_RATIO} times MAX_PIXELS. Send the others in another request.",
                param="imageList",
            )
    return files


def _pixels_of(file: bytes, limit: int) -> int:
    from imageserver.imaging import decoding

    return math.prod(decoding.read_size(file, name="image", max_pixels=limit))


def _json(service: Services, encoded: Callable[[], bytes], body: ExtrasBody) -> Response:
    # On a thread: base64 of so large an image takes a tenth of a second.
    data = service.thread_pool.run(encoded)
    hold(len(data))
    response = Response(data, mimetype="application/json")
    return add_warnings(response, body.warnings())
