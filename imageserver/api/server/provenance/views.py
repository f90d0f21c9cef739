"""Say whether this server made an image, and make it again."""

import json

from flask import Blueprint, Response, jsonify, request
from werkzeug.datastructures import Headers

from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.inputs.form_body import is_form, read_form
from imageserver.api.inputs.images.image_bytes import fetch, read_upload
from imageserver.api.inputs.json_body import as_object, read_json
from imageserver.api.inputs.validation import validated
from imageserver.api.operations import GENERATING_ERRORS, documented
from imageserver.api.request_context import request_id, services
from imageserver.api.server.provenance.bodies import ImageBody, ManifestReport, ReplayResponse, VerifyResponse
from imageserver.api.server.provenance.comparison import compared, measured
from imageserver.api.server.provenance.embedded_request import read_embedded_request
from imageserver.api.services import Services
from imageserver.imaging.provenance.manifests.store import memory_needed
from imageserver.imaging.provenance.verification import verify as verify_file

FILES = {"image": "The image file, as it was received."}

blueprint = Blueprint("provenance", __name__)


@blueprint.post("/v1/verify")
@documented(body=ImageBody, form=True, files=FILES, response=VerifyResponse, errors=(400, 408, 413, 422, 500, 504))
def verify() -> Response:
    """Say whether this server made an image, whether it is unchanged, and with which settings."""
    service = services()
    data = _sent_image(service)

    def work() -> VerifyResponse:
        text = _settings_text(data)
        verification = verify_file(data, text, service.sealer, service.manifest_reader)
        check, manifest = verification.check, verification.manifest
        # Only what this server has written itself is repeated, and read without limits.
        known = json.loads(text) if text is not None and check.authentic_settings else {}
        return VerifyResponse(
            made_here=check.made_here,
            unchanged=check.unchanged,
            settings=known.get("request") or None,
            inputs=known.get("inputs", []),
            model=known.get("model"),
            version=known.get("version"),
            reason=check.reason,
            manifest=ManifestReport.of(manifest) if manifest else None,
        )

    needed = service.thread_pool.run(memory_needed, [data])
    with service.decoding_memory.reserve(needed, service.settings.request_timeout, request.environ):
        return jsonify(service.thread_pool.run(work).model_dump())


@blueprint.post("/v1/replay")
@documented(body=ImageBody, form=True, files=FILES, response=ReplayResponse, errors=GENERATING_ERRORS)
def replay() -> Response:
    """Generate an image again from its own metadata, through the queue, and compare both."""
    service, number = services(), request_id()
    data = _sent_image(service)
    size = measured(service, data)
    embedded = read_embedded_request(service.thread_pool.run(_settings_text, data))
    fields = embedded | {"n": 1, "cache": False, "save_to_file": False}
    # With a key, the images of an earlier request would be compared with themselves.
    headers = Headers([(name, value) for name, value in request.headers if name != "Idempotency-Key"])
    parsed = parse_request(service, fields, headers, dialect="native", prompt_required=False)
    result = prepare(service, number, parsed).result(request.environ)
    outcome, warnings = result.outcome, list(result.warnings)
    comparison = compared(service, data, result.files[0], (size, (outcome.width, outcome.height)))
    if parsed.body.add_overlay:
        warnings.append("The overlay says when an image was generated: both differ there.")
    return jsonify(
        ReplayResponse(
            **comparison,
            deterministic=parsed.body.deterministic,
            settings=embedded,
            seed=outcome.seeds[0],
            model=result.info.name if result.info else None,
            inference_time=round(outcome.inference_time, 2),
            request_id=number,
            warnings=warnings,
        ).model_dump()
    )


def _sent_image(service: Services) -> bytes:
    """Return the bytes of the image, a file of a form or text; raises BadRequest, InvalidParameter."""
    file = request.files.get("image") if is_form() else None
    if file is not None:
        return read_upload(file, service.settings, name="image")
    content = read_form(ImageBody) if is_form() else as_object(read_json())
    return fetch(service, validated(ImageBody, content).image, name="image")


def _settings_text(data: bytes) -> str | None:
    """Return the JSON text in an image's metadata; raises InvalidParameter for anything but PNG, JPEG and WebP."""
    # numpy and Pillow take 0.2 s to import.
    from imageserver.imaging.metadata import read_metadata

    return read_metadata(data).get("generation")
