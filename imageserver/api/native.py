"""The native dialect: `POST /generate` answers picture bytes, or JSON about saved files."""

import json
import logging
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request, send_file, url_for

from imageserver.api import bodies, studio
from imageserver.api.client_presence import while_client_stays
from imageserver.api.current import request_id, services
from imageserver.api.services import Services
from imageserver.dispatch.client import Picture
from imageserver.errors import BadRequest, Draining
from imageserver.generation import Generation
from imageserver.imaging.archive import zip_pictures
from imageserver.outputs.folder import file_stem

logger = logging.getLogger(__name__)

blueprint = Blueprint("native", __name__)


@blueprint.post("/generate")
def generate() -> Response:
    """Draw pictures."""
    number, service = request_id(), services()
    body = bodies.parse(_json_body())
    generation, warnings = bodies.resolve(body, service.settings, service.snapshot)
    picture = _draw(service, number, generation, body.timeout or service.settings.request_timeout)
    warnings += picture.outcome.warnings
    how = studio.Finish(
        output_format=body.output_format,
        compression=body.output_compression,
        aspect_ratio_name=body.aspect_ratio_name if body.add_overlay else None,
        font_path=service.settings.font_path,
    )
    facts = service.snapshot.facts if service.snapshot else None
    files = service.native_pool.run(studio.finish, picture, generation, facts, how)
    if body.save_to_file:
        return _saved(service, number, files, how, picture, warnings)
    return _bytes(number, files, how, picture, warnings)


@blueprint.get("/images/<path:name>")
def image(name: str) -> Response:
    """Answer a saved picture."""
    return send_file(services().outputs.open_picture(name), max_age=3600)


def _json_body() -> Any:
    try:
        return json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.") from None


def _draw(service: Services, number: int, generation: Generation, timeout: float) -> Picture:
    if service.draining:
        raise Draining("The server is stopping.", retry_after=5)
    ticket = service.client.submit(number, generation, timeout)
    with while_client_stays(request.environ, ticket.cancel):
        picture = ticket.wait()
    outcome = picture.outcome
    logger.info(
        "Generated %d x %dx%d in %.2f s after %.2f s in the queue.",
        generation.count, outcome.width, outcome.height, outcome.inference_time, outcome.queue_time,
    )  # fmt: skip
    return picture


def _saved(
    service: Services, number: int, files: list[bytes], how: studio.Finish, picture: Picture, warnings: list[str]
) -> Response:
    outcome, facts = picture.outcome, service.snapshot.facts if service.snapshot else None
    now = datetime.now().astimezone()
    paths = []
    for index, data in enumerate(files):
        stem = file_stem(now, number, index if len(files) > 1 else None)
        paths.append(service.native_pool.run(service.outputs.save, data, stem=stem, extension=how.extension))
    shown = [f"{service.settings.output_dir.as_posix()}/{path.name}" for path in paths]
    urls = [url_for("native.image", name=path.name, _external=True) for path in paths]
    return jsonify(
        status="success",
        request_id=number,
        inference_time=round(outcome.inference_time, 2),
        file_path=shown[0],
        file_paths=shown,
        width=outcome.width,
        height=outcome.height,
        seed=outcome.seeds[0],
        seeds=outcome.seeds,
        model=facts.name if facts else None,
        warnings=warnings,
        queue_time=round(outcome.queue_time, 2),
        batch_size=outcome.batch_size,
        url=urls[0],
        urls=urls,
    )


def _bytes(number: int, files: list[bytes], how: studio.Finish, picture: Picture, warnings: list[str]) -> Response:
    outcome = picture.outcome
    if len(files) == 1:
        response = Response(files[0], mimetype=how.mimetype)
    else:
        named = [(f"{number}-{index}.{how.extension}", data) for index, data in enumerate(files)]
        response = Response(zip_pictures(named), mimetype="application/zip")
    response.headers.update(
        {
            "X-Seed": ",".join(str(seed) for seed in outcome.seeds),
            "X-Inference-Time": f"{outcome.inference_time:.2f}",
            "X-Queue-Time": f"{outcome.queue_time:.2f}",
            "X-Image-Width": str(outcome.width),
            "X-Image-Height": str(outcome.height),
        }
    )
    if warnings:
        # Header values are latin-1; the sentences are ours and may quote what a client sent.
        response.headers["X-Warnings"] = " | ".join(warnings).encode("ascii", "backslashreplace").decode()
    return response
