"""The stream of CogView4-FastAPI: `POST /v1/images/generations` with `stream` and `stream_format: "cogview4"`.

Frames of nothing but `data:` lines carry the pictures on the way as JPEG and the finished ones in the format asked for;
pictures whose base64 is longer than 400 KiB travel in several frames. Source: README and `cogview4_api_server.py` of
gongysh2004/CogView4-FastAPI.
"""

import base64
import contextlib
import logging
import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

from flask import Blueprint, Flask, Response, request
from pydantic import ConfigDict, Field

from imageserver.api import errors, image_streams, sse
from imageserver.api.bodies import Drawing, Fraction, Seed, Steps
from imageserver.api.current import request_id, services
from imageserver.api.orders import Delivery, News, Order, stream
from imageserver.api.placing import place
from imageserver.api.responses import add_warnings
from imageserver.api.services import Services
from imageserver.api.validation import nullable, shown, validated, without_nulls
from imageserver.dispatch.client import Glimpse
from imageserver.errors import ServiceError
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

DIALECT = "cogview4"
# Base64 letters that one frame carries at most; 300 KiB of a file become exactly so many, without padding.
LARGEST_PIECE = 400 * 1024
FILE_PIECE = LARGEST_PIECE // 4 * 3
# One about every 10 % of the steps; the last of them is the finished picture.
FRAMES_OF_A_PICTURE = 10
PREVIEW_QUALITY = 90
USUAL_STEPS = 50
DONE = sse.frame("[DONE]")


class CogView4Body(Drawing):
    """What the stream takes; unknown keys are ignored with a warning, and `model` may be any name."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=nullable)

    model: str | None = Field(None, description="Any name; the loaded model draws.")
    size: str = Field("1024x1024", description="WIDTHxHEIGHT.")
    num_inference_steps: Steps | None = Field(None, description="Number of denoising steps; 50 by default.")
    guidance_scale: Fraction | None = Field(
        5.0, ge=0, le=50, description="Classifier-free guidance scale; for Qwen-Image this is true_cfg_scale."
    )
    seed: Seed | None = Field(None, description="Random seed; drawn if left out.")
    stream: Literal[True] = Field(description="Only streams are answered in this format.")
    stream_format: Literal["cogview4"] = Field(description="The name of this format.")
    response_format: Any = Field(None, description="Without effect: the frames carry the pictures.")
    quality: Any = Field(None, description="Without effect.")
    style: Any = Field(None, description="Without effect.")
    user: Any = Field(None, description="Without effect.")


@dataclass(frozen=True)
class View:
    """What a frame shows: picture `image_index` of `total_images` after `step` (from 0) of its `total_steps`."""

    step: int
    total_steps: int
    is_final: bool
    image_index: int
    total_images: int
    seed: int


def answer(content: dict[str, Any]) -> Response:
    """Draw pictures and stream how they come about, in CogView4-FastAPI's frames."""
    service = services()
    try:
        body = checked(content)
        order, warnings, _ = place(
            service,
            request_id(),
            in_native_terms(body, service.settings),
            request.headers,
            dialect=DIALECT,
            previews=FRAMES_OF_A_PICTURE - 1,
        )
        warnings += [f"{shown(name)} is not a parameter and was ignored." for name in sorted(body.model_extra or {})]
        # A library's patience is for the next bytes of a stream, not for all of them.
        news = stream(service, replace(order, patience=body.timeout), request.environ)
    except ServiceError as error:
        logger.info("%d %s: %s", error.status, error.code, error.sentence)
        return errors.answer(error, envelope)
    return add_warnings(sse.event_stream(_frames(service, order, news), say_error), warnings)


blueprint = Blueprint("cogview4_stream", __name__)
blueprint.record_once(lambda state: image_streams.offer(cast(Flask, state.app), DIALECT, answer))


def checked(content: dict[str, Any]) -> CogView4Body:
    """Return the body; raises InvalidParameter naming the field and its limit. A missing prompt is left empty."""
    return validated(CogView4Body, {"prompt": ""} | without_nulls(content))


def in_native_terms(body: CogView4Body, settings: Settings) -> dict[str, Any]:
    """Return the native body that means the same."""
    fields = body.model_dump(include=set(Drawing.model_fields) - {"model", "guidance_scale"}, exclude_unset=True)
    fields.setdefault("num_inference_steps", min(USUAL_STEPS, settings.max_steps))
    fields.setdefault("true_cfg_scale", body.guidance_scale)
    return fields | {"size": body.size, "seed": body.seed, "positive_magic": False, "add_overlay": False}


def frames_of(picture: bytes, view: View) -> Iterator[bytes]:
    """Yield the frames that carry a picture file: one, or as many as its base64 needs, each made when it is asked for.

    The pieces of one picture share a `chunk_id`; put together in the order of `chunk_index` they are its base64.
    """
    total = -(-len(picture) // FILE_PIECE)
    chunk_id = secrets.token_hex(16) if total > 1 else None
    for index in range(total):
        piece = memoryview(picture)[index * FILE_PIECE : (index + 1) * FILE_PIECE]
        yield sse.frame(
            {
                **asdict(view),
                "progress": (view.step + 1) / view.total_steps,
                "image": base64.b64encode(piece).decode(),
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


def say_error(error: ServiceError) -> bytes:
    """Return the frame of a failure on the way, and the end of the stream, without which clients wait on."""
    return sse.frame(envelope(error)) + DONE


def _frames(service: Services, order: Order, news: Generator[News]) -> Iterator[bytes]:
    generation = order.generation
    with contextlib.closing(news):
        for item in news:
            match item:
                case None:
                    yield sse.HEARTBEAT_FRAME
                case Glimpse(preview=preview):
                    picture = image_streams.preview_file(
                        service, order, item, output_format="jpeg", compression=PREVIEW_QUALITY
                    )
                    seed = generation.seed + preview.index
                    view = View(preview.step - 1, preview.total, False, preview.index, generation.count, seed)
                    yield from frames_of(picture, view)
                case Delivery(outcome=outcome, files=files):
                    for warning in outcome.warnings:
                        yield sse.comment(warning)
                    steps = generation.drawn_steps
                    for index, (picture, seed) in enumerate(zip(files, outcome.seeds, strict=True)):
                        yield from frames_of(picture, View(steps - 1, steps, True, index, generation.count, seed))
    yield DONE
