"""The native dialect: `POST /generate` returns image bytes, or JSON about saved files."""

from flask import Blueprint, Response, jsonify, request

from imageserver.api.generation.build_request import ParsedRequest, parse_request, prepare
from imageserver.api.generation.image_response import image_response
from imageserver.api.generation.run import GenerationResult
from imageserver.api.generation.save import save_all, shown_paths, urls_of
from imageserver.api.inputs.form_body import is_form, read_form
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images.request_images import read_images
from imageserver.api.inputs.json_body import read_json
from imageserver.api.operations import GENERATING_ERRORS, IMAGES, REPEATABLE, documented
from imageserver.api.request_context import request_id, services
from imageserver.api.schemas import EstimateResponse, SavedImagesResponse
from imageserver.api.services import Services
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.imaging.archive import zip_images

blueprint = Blueprint("native", __name__)

FILES = {
    "image": "Image to start from; repeat it or use image[] for several.",
    "mask": "Mask of the image: white is regenerated, black is kept.",
    "control_image": "Image for the server's ControlNet.",
}


@blueprint.post("/generate")
@documented(
    body=GenerateBody,
    form=True,
    files=FILES,
    **REPEATABLE,
    response=SavedImagesResponse,
    media=(*IMAGES, "application/zip"),
    errors=GENERATING_ERRORS,
    example={"prompt": "a red circle on a blue background", "aspect_ratio": "s1:1"},
)
def generate() -> Response:
    """Generate images."""
    service, number = services(), request_id()
    parsed = _parse(service)
    result = prepare(service, number, parsed).result(request.environ)
    return _saved(service, result) if parsed.body.save_to_file else _bytes(service, result)


@blueprint.post("/v1/estimate")
@documented(
    body=GenerateBody,
    form=True,
    files=FILES,
    response=EstimateResponse,
    errors=(400, 404, 413, 422, 500, 503),
    example={"prompt": "a red circle on a blue background", "aspect_ratio": "16:9", "num_inference_steps": 30},
)
def estimate() -> Response:
    """Return the parameters, the expected time and the memory of a generation without running it."""
    service, number = services(), request_id()
    pending = prepare(service, number, _parse(service), queued=False)
    generation, hit = pending.request.generation, pending.cached() is not None
    estimated = service.client.estimate(number, generation, pending.request.credential)
    token_counts = estimated.token_counts
    return jsonify(
        prompt=generation.prompt,
        negative_prompt=generation.negative_prompt,
        width=generation.answer_size[0],
        height=generation.answer_size[1],
        num_inference_steps=generation.steps,
        true_cfg_scale=generation.true_cfg_scale,
        classifier_free_guidance=generation.true_cfg_scale > 1,
        seed=generation.seed,
        n=generation.count,
        priority=generation.priority,
        cache_hit=hit,
        expected_seconds=0.0 if hit else round(estimated.own, 3),
        queue_wait=0.0 if hit else round(estimated.wait, 3),
        queue_position=0 if hit else estimated.position,
        learnt=estimated.learnt,
        median_error=estimated.median_error,
        memory_mb=estimated.memory_mb,
        prompt_tokens=token_counts.prompt_tokens if token_counts else None,
        image_tokens=token_counts.image_tokens if token_counts else None,
        warnings=pending.warnings + list(token_counts.warnings if token_counts else ()),
    )


@blueprint.get("/images/<path:name>")
@documented(media=IMAGES, errors=(404, 503))
def image(name: str) -> Response:
    """Return a saved image."""
    return image_response(services(), name)


def _parse(service: Services) -> ParsedRequest:
    """Return the parsed JSON body or form; a form may contain images and a mask as files."""
    content = read_form(GenerateBody) if is_form() else read_json()
    images = read_images(service, content, request.files)
    return parse_request(service, content, request.headers, dialect="native", images=images)


def _saved(service: Services, result: GenerationResult) -> Response:
    outcome, names = result.outcome, save_all(service, result)
    shown, urls = shown_paths(service, names), urls_of(names)
    response = jsonify(
        status="success",
        request_id=result.request.number,
        inference_time=round(outcome.inference_time, 2),
        file_path=shown[0],
        file_paths=shown,
        width=outcome.width,
        height=outcome.height,
        seed=outcome.seeds[0],
        seeds=outcome.seeds,
        model=result.info.name if result.info else None,
        warnings=result.warnings,
        nsfw_detected=outcome.nsfw_detected,
        revised_prompt=outcome.revised_prompt or None,
        queue_time=round(outcome.queue_time, 2),
        batch_size=outcome.batch_size,
        cache=result.origin,
        url=urls[0],
        urls=urls,
    )
    response.headers["X-Cache"] = result.origin
    return response


def _bytes(service: Services, result: GenerationResult) -> Response:
    outcome, files, options = result.outcome, result.files, result.request.output_options
    if len(files) == 1:
        response = Response(files[0], mimetype=options.mimetype)
    else:
        named = [(f"{result.request.number}-{index}.{options.extension}", data) for index, data in enumerate(files)]
        response = Response(service.thread_pool.run(zip_images, named), mimetype="application/zip")
    response.headers.update(
        {
            "X-Seed": ",".join(str(seed) for seed in outcome.seeds),
            "X-Inference-Time": f"{outcome.inference_time:.2f}",
            "X-Queue-Time": f"{outcome.queue_time:.2f}",
            "X-Image-Width": str(outcome.width),
            "X-Image-Height": str(outcome.height),
            "X-Cache": result.origin,
        }
    )
    return add_warnings(response, result.warnings)
