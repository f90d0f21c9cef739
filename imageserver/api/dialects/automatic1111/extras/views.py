"""The routes of the extras: images that exist already are enlarged.

Source: stable-diffusion-webui 1.10, `modules/api/api.py`.
"""

import base64

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, Field

from imageserver.api.dialects.automatic1111.extras.bodies import BatchImagesBody, ExtrasBody, SingleImageBody
from imageserver.api.dialects.automatic1111.number_texts import with_numbers
from imageserver.api.inputs.images.image_bytes import fetch
from imageserver.api.inputs.json_body import as_object, read_json
from imageserver.api.inputs.validation import validated, without_nulls
from imageserver.api.operations import documented
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.api.upscaling.enlarge import enlarge
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.errors import InvalidParameter, NotFound

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


@blueprint.post("/sdapi/v1/extra-single-image")
@documented(body=SingleImageBody, response=SingleImageResponse, errors=ERRORS)
def single_image() -> Response:
    """Enlarge an image with Lanczos."""
    service = services()
    body = validated(SingleImageBody, with_numbers(SingleImageBody, without_nulls(as_object(read_json()))))
    image = _enlarged(service, body, body.image, "image")
    return add_warnings(jsonify(SingleImageResponse(html_info="", image=image).model_dump()), body.warnings())


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
    images = [_enlarged(service, body, each.data, f"imageList[{index}]") for index, each in enumerate(body.imageList)]
    return add_warnings(jsonify(BatchImagesResponse(html_info="", images=images).model_dump()), body.warnings())


@blueprint.post("/sdapi/v1/interrogate")
@documented(errors=(404,))
def interrogate() -> Response:
    """Refuse to describe an image: no model here does."""
    raise NotFound("interrogate: no model of this server describes images; write the prompt yourself.")


def _enlarged(service: Services, body: ExtrasBody, text: str, name: str) -> str:
    enlarged = enlarge(service, fetch(service, text, name=name), body.enlargement(), name=name)
    return service.thread_pool.run(base64.b64encode, enlarged).decode()
