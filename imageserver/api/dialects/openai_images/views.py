"""The OpenAI Images dialect: `/v1/images/...` and `/v1/models`, as the openai SDK uses it.

Source: openai-python 3.52, `openai/resources/images.py`.
"""

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request

from imageserver.api import errors
from imageserver.api.dialects.openai_images import responses
from imageserver.api.dialects.openai_images.bodies import (
    EditsBody,
    GenerationsBody,
    ImageReference,
    ImagesBody,
    VariationsBody,
    checked,
    to_generate_fields,
    warnings_of,
)
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.model_lookup import Listed, find_name, listing
from imageserver.api.generation.previews import other_format
from imageserver.api.generation.run import PendingGeneration
from imageserver.api.inputs.form_body import is_form, read_form
from imageserver.api.inputs.images.image_bytes import fetch, read_upload
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import MAX_IMAGES, Images
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.retry_headers import Retry, key_of_tries, retry_count_of
from imageserver.api.operations import EVENTS, GENERATING_ERRORS, REPEATABLE, documented
from imageserver.api.request_context import assign_request_id, client_address, credential, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.errors import BadRequest, InvalidParameter, ModelNotFound

DIALECT = "openai"
# The SDK sends one image as `image` and a list as `image[]`; other clients number the list.
IMAGE_PART = re.compile(r"image(\[\d{0,3}\])?")
# As OpenAI's own limit.
MAX_VARIATION_IMAGES = 1
# A retry would fail again and take as long.
NOT_RETRIED = (500, 504, 507)
MAX_RETRY_AFTER_SECONDS = 60

blueprint = Blueprint("openai_images", __name__, url_prefix="/v1")
errors.register(blueprint, errors.openai, errors.OpenAIError, prefix=("/v1/images", "/v1/models"))
blueprint.before_request(assign_request_id)

FILES = {"image": "The image; image[] is the same.", "mask": "Mask: transparent areas are regenerated."}
GENERATING = {"response": responses.ImagesResponse, "media": (EVENTS,), "errors": GENERATING_ERRORS, **REPEATABLE}


@blueprint.after_request
def discourage_retries(response: Response) -> Response:
    """Tell the SDK, which retries every server error, not to retry those that would fail again."""
    # It waits up to a minute, and for longer pauses not at all: it would fail again at once.
    too_late = response.headers.get("Retry-After", 0, type=int) > MAX_RETRY_AFTER_SECONDS
    if response.status_code in NOT_RETRIED or too_late:
        response.headers["X-Should-Retry"] = "false"
    return response


@blueprint.post("/images/generations")
@documented(
    body=GenerationsBody, example={"prompt": "a red circle on a blue background", "size": "512x512"}, **GENERATING
)
def generations() -> Response:
    """Generate images in OpenAI's format, in one response or as a stream with partial images."""
    content = read_json()
    if isinstance(content, dict) and content.get("stream") is True:
        default = services().settings.stream_format
        if other := other_format(content, default):
            return other({**content, "stream_format": content.get("stream_format") or default})
    return _generate(checked(GenerationsBody, content), "image_generation")


@blueprint.post("/images/edits")
@documented(body=EditsBody, form=True, files=FILES, **GENERATING)
def edits() -> Response:
    """Edit an image by a prompt, or only the part that is transparent in a mask."""
    body = checked(EditsBody, read_form(EditsBody) if is_form() else read_json())
    return _generate(body, "image_edit", _init_image(services(), body))


@blueprint.post("/images/variations")
@documented(body=VariationsBody, form=True, files={"image": FILES["image"]}, **GENERATING)
def variations() -> Response:
    """Generate variations of an image without a prompt."""
    body = checked(VariationsBody, read_form(VariationsBody) if is_form() else read_json())
    return _generate(body, "image_edit", _init_image(services(), body))


@blueprint.get("/models")
@documented(response=responses.OpenAIModelList, errors=(503,))
def models() -> Response:
    """List the models that requests can name, the default model first."""
    service = services()
    return jsonify(object="list", data=[_model(service, listed) for listed in listing(service)])


@blueprint.get("/models/<path:name>")
@documented(response=responses.OpenAIModel, errors=(404, 503))
def model(name: str) -> Response:
    """Return one model."""
    service = services()
    models = listing(service)
    for listed in models:
        if name in (listed.name, listed.source):
            return jsonify(_model(service, listed))
    served = ", ".join(listed.name for listed in models)
    raise ModelNotFound(f"model {ascii(name)[:80]} is not available; this server serves {served}.", param="model")


def _generate(body: ImagesBody, kind: responses.EventPrefix, init_image: InitImage | None = None) -> Response:
    service = services()
    pending = _prepare(service, body, init_image)
    if body.stream:
        updates = pending.stream(request.environ)
        return sse.event_stream(responses.frames(service, pending.request, updates, kind), responses.error_frame)
    return responses.images_response(service, pending.result(request.environ), as_urls=body.response_format == "url")


def _prepare(service: Services, body: ImagesBody, init_image: InitImage | None) -> PendingGeneration:
    # Scripts for OpenAI name its models.
    model = find_name(service, body.model) if body.model else None
    parsed = parse_request(
        service,
        to_generate_fields(body) | ({"model": model} if model else {}),
        request.headers,
        dialect=DIALECT,
        images=Images(init_image),
        previews=body.partial_images if body.stream else 0,
        prompt_required=body.needs_prompt(),
        streamed=body.stream,
        retry=None if body.stream else _retry(service, body, init_image),
    )
    pending = prepare(service, request_id(), parsed)
    files = {name for name in request.files if not (IMAGE_PART.fullmatch(name) or name == "mask")}
    pending.warnings += warnings_of(body, files)
    return pending


def _retry(service: Services, body: ImagesBody, init_image: InitImage | None) -> Retry | None:
    """Return which try of a request of the SDK this is, so that a retry joins the first; None for other clients."""
    count = retry_count_of(request.headers)
    if count is None or "Idempotency-Key" in request.headers:
        return None
    client = f"{credential() or client_address()} {request.headers.get('Authorization', '')}"
    content = body.model_dump(exclude={"image", "images", "mask"})
    images = (init_image.image, *init_image.further, init_image.mask) if init_image else ()
    return Retry(service.thread_pool.run(key_of_tries, client, request.path, content, *images), count)


def _init_image(service: Services, body: VariationsBody) -> InitImage:
    """Return the images of a form or a JSON body, and the mask of the first one."""
    uploads = [file for name, files in request.files.lists() if IMAGE_PART.fullmatch(name) for file in files]
    named: list[str | ImageReference] = [*(body.images or [])]
    named += [body.image] if isinstance(body.image, str) else body.image or []
    count, max_count = len(uploads) + len(named), MAX_IMAGES if isinstance(body, EditsBody) else MAX_VARIATION_IMAGES
    if not count:
        raise BadRequest("image is missing: send it as a file, as base64 or as a data URL.", param="image")
    # Checked before any of them is fetched: they may be web addresses.
    if count > max_count:
        raise InvalidParameter(f"image: {count} images were sent; the limit is {max_count}.", param="image")
    images = [read_upload(file, service.settings, name="image") for file in uploads]
    images += [_named(service, given, "image") for given in named]
    if "mask" in request.files:
        mask: bytes | None = read_upload(request.files["mask"], service.settings, name="mask")
    else:
        mask = _named(service, body.mask, "mask") if isinstance(body, EditsBody) and body.mask is not None else None
    return InitImage(image=images[0], further=tuple(images[1:]), mask=mask, transparent_means_edit=True)


def _named(service: Services, given: str | ImageReference, name: str) -> bytes:
    """Return the bytes of an image in JSON, given as text or as a reference."""
    text = given if isinstance(given, str) else given.image_url
    if text is None:
        raise InvalidParameter(f"{name} needs an image_url: this server stores no uploaded files.", param=name)
    return fetch(service, text, name=name)


def _model(service: Services, listed: Listed) -> dict[str, Any]:
    return {
        "id": listed.name,
        "object": "model",
        "created": 0,
        "owned_by": listed.family,
        "loaded": listed.loaded,
        "default": service.default_info is not None and listed.name == service.default_info.name,
    }
