"""The frames of the WebSocket dialect: parse those of a client, and build those of the server."""

from typing import Any

import msgspec
from pydantic import Field
from werkzeug.datastructures import Headers

from imageserver.api.dialects.websocket.text_bytes import BINARY
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.run import GenerationResult, PendingGeneration
from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.generate_request import GenerateBody, Whole
from imageserver.api.inputs.images.request_images import read_images
from imageserver.api.inputs.validation import validated
from imageserver.api.services import Services
from imageserver.errors import BadRequest, ServiceError
from imageserver.protocol.messages import Preview, Progress, Queued

DIALECT = "websocket"
MAX_PREVIEWS = 1000

Frame = dict[str, Any]


class WebSocketBody(GenerateBody):
    """A generate frame; unknown keys are refused."""

    type: str = Field("generate", pattern="^generate$", description="generate; optional.")
    previews: Whole = Field(
        0, ge=0, le=MAX_PREVIEWS, description="Number of previews per image, evenly spread over its steps."
    )


def read(message: bytes) -> Frame:
    """Return the JSON object in a client's frame; raises BadRequest."""
    if message.startswith(BINARY):
        raise BadRequest("Frames must be JSON text, not binary.")
    content = bounded_json.parse(message)
    if not isinstance(content, dict):
        raise BadRequest("The frame must be a JSON object.")
    return content


def checked(frame: Frame) -> WebSocketBody:
    """Return a generate frame; raises BadRequest or InvalidParameter naming the field and its limit."""
    if not frame.get("prompt"):
        raise BadRequest("Prompt is required", param="prompt")
    return validated(WebSocketBody, frame)


def pending_of(service: Services, number: int, body: WebSocketBody) -> PendingGeneration:
    """Return the generation of a frame; raises ServiceError. May wait minutes for the model to be loaded."""
    parsed = parse_request(
        service,
        body.model_dump(exclude={"type", "previews"}, exclude_unset=True),
        # Without the headers of the handshake: its idempotency key would apply to every generation.
        Headers(),
        dialect=DIALECT,
        images=read_images(service, body.model_dump(include={"image", "mask", "control_image", "controls"})),
        previews=body.previews,
    )
    return prepare(service, number, parsed)


def queued(number: int, update: Queued) -> Frame:
    """Return the frame for a position in the queue; times in seconds."""
    return {
        "type": "queued", "request_id": number, "queue_position": update.position,
        "queue_wait": round(update.wait, 3), "expected_seconds": round(update.own, 3),
    }  # fmt: skip


def progress(number: int, update: Progress) -> Frame:
    """Return the frame for a finished step; `progress` is 0 to 1 over all images."""
    return {
        "type": "progress", "progress": round(update.step / update.total, 4), "step": update.step,
        "total_steps": update.total, "request_id": number,
    }  # fmt: skip


def preview(number: int, shown: Preview, image: str) -> Frame:
    """Return the frame for a preview; `image` is its JPEG as base64."""
    return {
        "type": "preview", "image_b64": image, "index": shown.index, "step": shown.step,
        "total_steps": shown.total, "request_id": number,
    }  # fmt: skip


def result(generated: GenerationResult, images: list[str]) -> Frame:
    """Return the frame for finished images in base64; several are in `images_b64` too."""
    outcome = generated.outcome
    data: dict[str, Any] = {"image_b64": images[0]}
    if len(images) > 1:
        data["images_b64"] = images
    data |= {
        "seed": outcome.seeds[0],
        "seeds": list(outcome.seeds),
        "width": outcome.width,
        "height": outcome.height,
        "inference_time": round(outcome.inference_time, 2),
        "queue_time": round(outcome.queue_time, 2),
        "model": generated.info.name if generated.info else None,
        "output_format": generated.request.output_options.output_format,
        "warnings": generated.warnings,
        "nsfw_detected": outcome.nsfw_detected,
        "revised_prompt": outcome.revised_prompt or None,
        "request_id": generated.request.number,
        "cache": generated.origin,
    }
    return {"type": "result", "data": data}


def failure(number: int | None, error: ServiceError) -> Frame:
    """Return the frame for an error; `number` is None for a frame that began no request, `retry_after` in seconds."""
    return {
        "type": "error", "message": error.sentence, "code": error.code, "param": error.param, "request_id": number,
        "retry_after": error.retry_after,
    }  # fmt: skip


def encode(frame: Frame) -> str:
    # 16 MiB of images take 19 ms, with the standard library 61 ms.
    return msgspec.json.encode(frame).decode()
