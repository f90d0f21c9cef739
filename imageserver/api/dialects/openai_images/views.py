"""The OpenAI Images dialect: `/v1/images/...` and `/v1/models`, as the openai SDK uses it.

Source: openai-python 3.52, `openai/resources/images.py`.
"""

from typing import Any, cast

from flask import Blueprint, Flask, Response, jsonify, request

from imageserver.api import errors
from imageserver.api.dialects.openai_images import addresses, responses, sent_images
from imageserver.api.dialects.openai_images.bodies import (
    IMAGE_FIELDS,
    EditsBody,
    GenerationsBody,
    ImagesBody,
    UpscaleBody,
    VariationsBody,
    checked,
    refuse_image,
    to_generate_fields,
    warnings_of,
)
from imageserver.api.dialects.openai_images.model_details import DetailedModel, details_of
from imageserver.api.dialects.openai_images.model_names import OPENAI_NAMES, image_fields
from imageserver.api.generation import sdk_retries
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.model_lookup import Listed, find_name, listing
from imageserver.api.generation.previews import other_format
from imageserver.api.generation.run import PendingGeneration
from imageserver.api.inputs.form_body import is_form, read_form
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.openai_options import OTHER_NAMES
from imageserver.api.inputs.retry_headers import Retry
from imageserver.api.operations import EVENTS, GENERATING_ERRORS, REPEATABLE, documented
from imageserver.api.request_context import assign_request_id, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.errors import ModelNotFound

DIALECT = "openai"

blueprint = Blueprint("openai_images", __name__, url_prefix="/v1")
# The SDK has an exception of its own for 400, and none of OpenAI's clients expects 422.
errors.register(blueprint, errors.openai, errors.OpenAIError, prefix="/v1/", wrong_value=400)
blueprint.record_once(lambda state: addresses.register(cast(Flask, state.app)))
blueprint.before_request(assign_request_id)
sdk_retries.discourage(blueprint)

FILES = {"image": "The image; image[] is the same.", "mask": "Mask: transparent areas are regenerated."}
GENERATING = {
    "response": responses.ImagesResponse,
    "media": (EVENTS,),
    "errors": tuple(status for status in GENERATING_ERRORS if status != 422),
    **REPEATABLE,
}


@blueprint.post("/images/generations")
@documented(
    body=GenerationsBody, example={"prompt": "a red circle on a blue background", "size": "512x512"}, **GENERATING
)
def generations() -> Response:
    """Generate images in OpenAI's format, from a text or from images too, in one response or as a stream."""
    content = read_json()
    if isinstance(content, dict) and content.get("stream") is True:
        default = services().settings.stream_format
        if other := other_format(content, default):
            stream_format = content.get("stream_format") or default
            refuse_image(content, stream_format)
            return other({**content, "stream_format": stream_format})
    body = checked(GenerationsBody, content)
    return _generate(body, "image_generation", sent_images.read_if_sent(services(), body))


@blueprint.post("/images/edits")
@documented(body=EditsBody, form=True, files=FILES, **GENERATING)
def edits() -> Response:
    """Edit an image by a prompt, or only the part that is transparent in a mask."""
    body = checked(EditsBody, read_form(EditsBody, OTHER_NAMES) if is_form() else read_json())
    return _generate(body, "image_edit", sent_images.read(services(), body))


@blueprint.post("/images/variations")
@documented(body=VariationsBody, form=True, files={"image": FILES["image"]}, **GENERATING)
def variations() -> Response:
    """Generate variations of an image without a prompt."""
    body = checked(VariationsBody, read_form(VariationsBody, OTHER_NAMES) if is_form() else read_json())
    return _generate(body, "image_edit", sent_images.read(services(), body))


@blueprint.post("/images/upscale")
@documented(body=UpscaleBody, form=True, files={"image": FILES["image"]}, **GENERATING)
def upscale() -> Response:
    """Enlarge an image, with details that the model generates."""
    body = checked(UpscaleBody, read_form(UpscaleBody, OTHER_NAMES) if is_form() else read_json())
    return _generate(body, "image_edit", sent_images.read(services(), body))


@blueprint.get("/models")
@documented(response=responses.OpenAIModelList, errors=(503,))
def models() -> Response:
    """List the models that requests can name, the default model first, and OpenAI's names, which mean that one."""
    return jsonify(object="list", data=_models(services()))


@blueprint.get("/models/<path:name>")
@documented(response=DetailedModel, errors=(404, 503))
def model(name: str) -> Response:
    """Return one model, with its defaults and what it generates from."""
    service = services()
    models = listing(service)
    own = next((listed.name for listed in models if name in (listed.name, listed.source)), name)
    found = next((model for model in _models(service) if model["id"] == own), None)
    if found is None:
        served = ", ".join(listed.name for listed in models)
        raise ModelNotFound(f"model {ascii(name)[:80]} is not available; this server serves {served}.", param="model")
    info = next(listed.info for listed in models if listed.name == (found["alias_of"] or own))
    enhance = service.prompt_endpoint is not None or (info is not None and info.enhances)
    return jsonify(found | {"enhance": enhance, "details": details_of(info)})


def _generate(body: ImagesBody, kind: responses.EventPrefix, init_image: InitImage | None = None) -> Response:
    service, model = services(), body.model or addresses.deployment()
    pending = _prepare(service, body, model, init_image)
    if body.stream:
        updates = pending.stream(request.environ)
        frames = responses.frames(service, pending.request.without_pixels(), updates, kind)
        return sse.event_stream(frames, responses.error_frame)
    result = pending.result(request.environ)
    return responses.images_response(service, result, image_fields(model, body.response_format))


def _prepare(service: Services, body: ImagesBody, named: str | None, init_image: InitImage | None) -> PendingGeneration:
    # Scripts for OpenAI name its models.
    model = find_name(service, named) if named else None
    fields = to_generate_fields(body) | ({"model": model} if model else {})
    if isinstance(body, UpscaleBody):
        fields = {name: value for name, value in fields.items() if name != "strength"} | body.upscale_fields()
    parsed = parse_request(
        service,
        fields,
        request.headers,
        dialect=DIALECT,
        images=Images(init_image),
        previews=body.partial_images if body.stream else 0,
        prompt_required=body.needs_prompt(),
        streamed=body.stream,
        retry=None if body.stream else _retry(service, body, init_image),
        upscale_only=isinstance(body, UpscaleBody),
    )
    pending = prepare(service, request_id(), parsed)
    pending.warnings += warnings_of(body, sent_images.unknown_files())
    return pending


def _retry(service: Services, body: ImagesBody, init_image: InitImage | None) -> Retry | None:
    content = body.model_dump(exclude={*IMAGE_FIELDS, "mask", "mask_image"})
    content["model"] = body.model or addresses.deployment()
    return sdk_retries.retry_of(service, content, init_image)


def _models(service: Services) -> list[dict[str, Any]]:
    """Return the listed models, and OpenAI's names; a model of the same name goes first."""
    models = listing(service)
    known = {listed.name for listed in models}
    default = service.default_info.name if service.default_info else None
    own = [_model(listed, is_default=listed.name == default) for listed in models]
    aliases = [own[0] | {"id": name, "default": False, "alias_of": own[0]["id"]} for name in OPENAI_NAMES]
    return own + [alias for alias in aliases if alias["id"] not in known]


def _model(listed: Listed, *, is_default: bool) -> dict[str, Any]:
    return {
        "id": listed.name,
        "object": "model",
        "created": 0,
        "owned_by": listed.family,
        "loaded": listed.loaded,
        "default": is_default,
        "alias_of": None,
    }
