"""The stream of CogView4-FastAPI: `POST /v1/images/generations` with `stream` and `stream_format: "cogview4"`.

Frames with only `data:` lines carry previews as JPEG and the finished images in the requested format; images whose
base64 is longer than 400 KiB are split over several frames. Source: README and `cogview4_api_server.py` of
gongysh2004/CogView4-FastAPI.
"""

import base64
import contextlib
import logging
import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from flask import Blueprint, Flask, Response, request
from pydantic import Field

from imageserver.api import errors
from imageserver.api.generation import previews
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.run import GenerationRequest, GenerationResult, Update
from imageserver.api.inputs.generate_request import Fraction, Generating, Seed, Steps
from imageserver.api.inputs.validation import nullable, shown, validated, without_blanks
from imageserver.api.request_context import request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import ServiceError
from imageserver.settings import Settings
from imageserver.telemetry.error_line import log_error

logger = logging.getLogger(__name__)

DIALECT = "cogview4"
# Base64 characters per frame at most; 300 KiB of a file become exactly this many, without padding.
MAX_CHUNK_BYTES = 400 * 1024
MAX_FILE_CHUNK_BYTES = MAX_CHUNK_BYTES // 4 * 3
# One about every 10 % of the steps; the last one is the finished image.
FRAMES_PER_IMAGE = 10
PREVIEW_QUALITY = 90
DEFAULT_STEPS = 50
DONE = sse.frame("[DONE]")


class CogView4Body(Generating, extra="allow", strict=False, json_schema_extra=nullable):
    """The body of a stream; unknown keys are ignored with a warning, and `model` may be any name.

    Numbers may be text, as in the original.
    """

    model: str | None = Field(None, description="Ignored: the default model generates.")
    size: str = Field("1024x1024", description="WIDTHxHEIGHT.")
    num_inference_steps: Steps | None = Field(None, description="Number of denoising steps; 50 by default.")
    guidance_scale: Fraction | None = Field(
        5.0, ge=0, le=50, description="Classifier-free guidance scale; for Qwen-Image this is true_cfg_scale."
    )
    seed: Seed | None = Field(None, description="Random seed; random if omitted.")
    stream: Literal[True] = Field(description="Must be true: this format is a stream.")
    stream_format: Literal["cogview4"] = Field(description="Name of this format.")
    response_format: Any = Field(None, description="Ignored: the frames contain the images.")
    quality: Any = Field(None, description="Ignored.")
    style: Any = Field(None, description="Ignored.")
    user: Any = Field(None, description="Ignored.")


@dataclass(frozen=True)
class FrameFields:
    """The position of a frame: image `image_index` of `total_images` after `step` (from 0) of `total_steps`."""

    step: int
    total_steps: int
    is_final: bool
    image_index: int
    total_images: int
    seed: int


def stream_response(content: dict[str, Any]) -> Response:
    """Generate images and stream previews and results in CogView4-FastAPI's frames."""
    service = services()
    try:
        body = checked(content)
        parsed = parse_request(
            service,
            to_generate_fields(body, service.settings),
            request.headers,
            dialect=DIALECT,
            previews=FRAMES_PER_IMAGE - 1,
            streamed=True,
        )
        pending = prepare(service, request_id(), parsed)
        updates = pending.stream(request.environ)
    except ServiceError as error:
        log_error(logger, error)
        return errors.error_response(error, envelope)
    ignored = [f"{shown(name)} is not a parameter and was ignored." for name in sorted(body.model_extra or {})]
    response = sse.event_stream(_frames(service, pending.request.without_pixels(), updates), error_frame)
    return add_warnings(response, [*pending.warnings, *ignored])


blueprint = Blueprint("cogview4_stream", __name__)
blueprint.record_once(lambda state: previews.offer(cast(Flask, state.app), DIALECT, stream_response))


def checked(content: dict[str, Any]) -> CogView4Body:
    """Return the body, with an empty prompt if it has none; raises InvalidParameter naming the field and its limit."""
    return validated(CogView4Body, {"prompt": ""} | without_blanks(content))


def to_generate_fields(body: CogView4Body, settings: Settings) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning."""
    fields = body.model_dump(include=set(Generating.model_fields) - {"model", "guidance_scale"}, exclude_unset=True)
    fields.setdefault("num_inference_steps", min(DEFAULT_STEPS, settings.max_steps))
    fields.setdefault("true_cfg_scale", body.guidance_scale)
    return fields | {"size": body.size, "seed": body.seed, "positive_magic": False, "add_overlay": False}


def frames_of(image: bytes, fields: FrameFields) -> Iterator[bytes]:
    """Yield the frames of an image file, one or as many as its base64 needs, each built when it is needed.

    The chunks of one image share a `chunk_id`; joined in the order of `chunk_index` they are its base64.
    """
    total = -(-len(image) // MAX_FILE_CHUNK_BYTES)
    chunk_id = secrets.token_hex(16) if total > 1 else None
    for index in range(total):
        chunk = memoryview(image)[index * MAX_FILE_CHUNK_BYTES : (index + 1) * MAX_FILE_CHUNK_BYTES]
        yield sse.frame(
            {
                **asdict(fields),
                "progress": (fields.step + 1) / fields.total_steps,
                "image": base64.b64encode(chunk).decode(),
                "timestamp": time.time(),
                "is_chunked": total > 1,
                "chunk_id": chunk_id,
                "chunk_index": index if total > 1 else None,
                "total_chunks": total if total > 1 else None,
            }
        )


def envelope(error: ServiceError) -> dict[str, Any]:
    """Return `{"error", "timestamp"}`, with `code` and `param`."""
    return {"error": error.sentence, "timestamp": time.time(), "code": error.code, "param": error.param}


def error_frame(error: ServiceError) -> bytes:
    """Return the frame of an error and the end of the stream, for which clients wait."""
    return sse.frame(envelope(error)) + DONE


def _frames(service: Services, generation_request: GenerationRequest, updates: Generator[Update]) -> Iterator[bytes]:
    generation = generation_request.generation
    with contextlib.closing(updates):
        for update in updates:
            match update:
                case None:
                    yield sse.HEARTBEAT_FRAME
                case PreviewImage(preview=preview):
                    image = previews.preview_file(service, generation_request, update, jpeg_quality=PREVIEW_QUALITY)
                    seed = generation.seed + preview.index
                    fields = FrameFields(preview.step - 1, preview.total, False, preview.index, generation.count, seed)
                    yield from frames_of(image, fields)
                case GenerationResult(outcome=outcome, files=files):
                    for warning in outcome.warnings:
                        yield sse.comment(warning)
                    steps = generation.generated_steps
                    for index, (image, seed) in enumerate(zip(files, outcome.seeds, strict=True)):
                        yield from frames_of(image, FrameFields(steps - 1, steps, True, index, generation.count, seed))
    yield DONE
