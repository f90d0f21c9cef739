"""The AUTOMATIC1111 dialect: `/sdapi/v1/...`, as Open WebUI, SillyTavern and plug-ins of Krita use it.

Source: stable-diffusion-webui 1.10, `modules/api/api.py`.
"""

import time

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from imageserver.api import errors
from imageserver.api.dialects.automatic1111 import catalog, responses
from imageserver.api.dialects.automatic1111.bodies import (
    GeneratingBody,
    Img2ImgBody,
    Txt2ImgBody,
    checked,
    output_format_of,
    to_generate_fields,
)
from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint
from imageserver.api.dialects.automatic1111.controlnet import routes as controlnet
from imageserver.api.dialects.automatic1111.controlnet.units import extract_units
from imageserver.api.dialects.automatic1111.extras import views as extras
from imageserver.api.dialects.automatic1111.lora_tags import loras_in
from imageserver.api.dialects.automatic1111.samplers import choose
from imageserver.api.generation.build_request import build_request, parse_request
from imageserver.api.generation.model_lookup import WaitingRequest, wait_for_model
from imageserver.api.generation.run import GenerationResult, PendingGeneration, keep_for_answer
from imageserver.api.generation.save import save_all
from imageserver.api.inputs.images.image_bytes import fetch
from imageserver.api.inputs.images.init_image import InitImage, Resize
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.json_body import read_json, read_model
from imageserver.api.inputs.validation import read_query
from imageserver.api.operations import GENERATING_ERRORS, documented
from imageserver.api.request_context import client_address, credential, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.bodies.arriving import hold
from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import Cancelled, InvalidParameter
from imageserver.imaging.infotext import parse_infotext
from imageserver.protocol.messages import CancelJob, CurrentJobRequest, JobStatus, Started

DIALECT = "automatic1111"
# Previews per image for clients that poll the progress.
PREVIEWS = 10
RESIZE_MODES: tuple[Resize, ...] = ("stretch", "crop", "pad", "stretch")

blueprint = Blueprint(DIALECT, __name__)
blueprint.register_blueprint(catalog.blueprint)
blueprint.register_blueprint(controlnet.blueprint)
blueprint.register_blueprint(extras.blueprint)
errors.register(
    blueprint,
    responses.envelope,
    responses.Automatic1111Error,
    prefix=("/sdapi/", "/controlnet/"),
    challenges=(errors.BEARER, errors.BASIC),
)


class ProgressQuery(BaseModel):
    """The query of `GET /sdapi/v1/progress`."""

    skip_current_image: bool = Field(False, description="Omit the preview.")


class PngInfoBody(BaseModel, strict=True, extra="allow"):
    """The body of `POST /sdapi/v1/png-info`."""

    image: str = Field(description="A PNG, JPEG or WebP image: base64, a data URL or, if allowed, a web address.")


class PngInfoResponse(BaseModel):
    """The texts in an image: the infotext, all other texts, and the parsed infotext."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


@blueprint.post("/sdapi/v1/txt2img")
@documented(
    body=Txt2ImgBody,
    response=responses.ImagesAndInfo,
    errors=GENERATING_ERRORS,
    example={"prompt": "a red circle on a blue background", "steps": 4, "seed": -1, "width": 256, "height": 256},
)
def txt2img() -> Response:
    """Generate images."""
    service = services()
    return _answer(service, checked(Txt2ImgBody, read_json(), service.settings))


@blueprint.post("/sdapi/v1/img2img")
@documented(body=Img2ImgBody, response=responses.ImagesAndInfo, errors=GENERATING_ERRORS)
def img2img() -> Response:
    """Generate images from another image, or regenerate its masked part."""
    service = services()
    body = checked(Img2ImgBody, read_json(), service.settings)
    return _answer(service, body, _init_image(service, body))


@blueprint.get("/sdapi/v1/progress")
@documented(query=ProgressQuery, response=responses.ProgressResponse, errors=(422, 500, 503))
def progress() -> Response:
    """Return the progress of the client's current request, with its last preview."""
    query, service = read_query(ProgressQuery), services()
    status, preview_image = _current(service)
    preview = None
    if status is not None and preview_image is not None and not query.skip_current_image:
        preview = responses.preview_of(service, status, preview_image)
    return jsonify(responses.progress(status, preview).model_dump())


@blueprint.post("/sdapi/v1/interrupt")
@documented(response=dict[str, str], errors=(500, 503))
def interrupt() -> Response:
    """Cancel the client's current request, which then returns its last previews."""
    service = services()
    if status := _running(service):
        _cancel(service, status)
    return jsonify({})


@blueprint.post("/sdapi/v1/skip")
def skip() -> Response:
    """Cancel the client's current request if it is for one image; several images are generated together."""
    service = services()
    status = _running(service)
    if status is not None and status.n > 1:
        return add_warnings(jsonify(None), ["Images of one request are generated together, so none was skipped."])
    if status is not None:
        _cancel(service, status)
    return jsonify(None)


@blueprint.post("/sdapi/v1/png-info")
@documented(body=PngInfoBody, response=PngInfoResponse, errors=(400, 413, 422, 429, 500))
def png_info() -> Response:
    """Return the generation parameters that an image contains."""
    service = services()
    data = fetch(service, read_model(PngInfoBody).image, name="image")

    def work() -> PngInfoResponse:
        from imageserver.imaging.metadata import read_metadata

        texts = read_metadata(data)
        info = texts.pop("parameters", "")
        return PngInfoResponse(info=info, items=texts, parameters=parse_infotext(info))

    response = jsonify(service.thread_pool.run(work).model_dump())
    # Compressed texts may be many times as long as the image.
    hold(response.calculate_content_length() or 0)
    return response


def _answer(service: Services, body: GeneratingBody, init_image: InitImage | None = None) -> Response:
    checkpoint = find_checkpoint(service, body.override_settings.get("sd_model_checkpoint"))
    waiter = WaitingRequest(request_id(), DIALECT, body.prompt, service.settings.request_timeout)
    info, waited = wait_for_model(service, checkpoint, waiter, param="sd_model_checkpoint")
    samples_format = catalog.stored_options(service).samples_format(credential())
    sampler = choose(body.sampler_name or body.sampler_index, body.scheduler, info)
    body, control = extract_units(service, body)
    loras, lora_warnings = loras_in(body.prompt, body.negative_prompt, service.loras.names())
    fields = to_generate_fields(body, output_format_of(body, samples_format), sampler.scheduler)
    fields |= ({"loras": loras} if loras else {}) | ({"model": checkpoint} if checkpoint else {})
    try:
        parsed = parse_request(
            service,
            fields,
            request.headers,
            dialect=DIALECT,
            images=Images(init_image, control.images),
            previews=PREVIEWS,
            prompt_required=False,
        )
        pending = build_request(service, request_id(), parsed, info, waited)
    except InvalidParameter as error:
        raise (body.in_own_names(error) if isinstance(body, Txt2ImgBody) else error) from None
    pending.warnings[:0] = [*sampler.warnings, *lora_warnings, *control.warnings]
    result = _generate(service, pending)
    if body.save_images and not isinstance(result, responses.InterruptedResult):
        save_all(service, result)
    response, warnings = responses.generated(service, body, result)
    return add_warnings(jsonify(response.model_dump()), warnings)


def _generate(service: Services, pending: PendingGeneration) -> GenerationResult:
    """Return the finished images, or the previews of an interrupted request.

    Raises Cancelled if the client has disconnected.
    """
    preview_images: dict[int, PreviewImage] = {}
    started_at, disconnected = time.monotonic(), list[bool]()
    try:
        with while_client_stays(request.environ, lambda: disconnected.append(True)):
            for update in pending.stream(request.environ):
                keep_for_answer(request.environ, update)
                match update:
                    case Started():
                        # A new engine starts from the beginning.
                        started_at = time.monotonic()
                        preview_images.clear()
                    case PreviewImage():
                        preview_images[update.preview.index] = update
    except Cancelled:
        if disconnected:
            raise
        return responses.interrupted(service, pending, preview_images, time.monotonic() - started_at)
    assert isinstance(update, GenerationResult)
    return update


def _init_image(service: Services, body: Img2ImgBody) -> InitImage:
    image = fetch(service, body.init_images[0], name="init_images")
    mask = fetch(service, body.mask, name="mask") if body.mask else None
    hard, inverted, blur = bool(body.mask_round), bool(body.inpainting_mask_invert), body.blur

    def shape(data: bytes, max_pixels: int) -> bytes:
        from imageserver.imaging.masks import MaskShape, shape_mask

        return shape_mask(data, MaskShape(hard=hard, inverted=inverted, blur=blur), name="mask", max_pixels=max_pixels)

    return InitImage(
        image=image,
        mask=mask,
        shape_mask=shape,
        resize=RESIZE_MODES[body.resize_mode],
        names=("init_images", "mask"),
    )


def _current(service: Services) -> tuple[JobStatus | None, PreviewImage | None]:
    """Return the client's current job in this dialect, on whichever worker, and its last preview."""
    question = CurrentJobRequest(job=request_id(), dialect=DIALECT, credential=credential(), client=client_address())
    return service.client.current(question)


def _running(service: Services) -> JobStatus | None:
    status, _ = _current(service)
    return status if status is not None and status.state in responses.RUNNING_STATES else None


def _cancel(service: Services, status: JobStatus) -> None:
    service.client.jobs(CancelJob(job=request_id(), wanted=status.id, credential=credential()))
