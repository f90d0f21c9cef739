"""The responses of the AUTOMATIC1111 dialect: images with their `info`, progress, and errors.

Source: stable-diffusion-webui 1.10, `modules/api/models.py`, `Processed.js` and `State.dict`.
"""

import base64
import json
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from imageserver import __version__
from imageserver.api import errors
from imageserver.api.dialects.automatic1111.bodies import GeneratingBody, Img2ImgBody, sent, warnings_of
from imageserver.api.dialects.automatic1111.checkpoints import short_name
from imageserver.api.generation.run import GenerationResult, PendingGeneration
from imageserver.api.output_options import encode_images
from imageserver.api.services import Services
from imageserver.dispatch.client.ticket import Image, PreviewImage
from imageserver.errors import ServiceError
from imageserver.generation import Generation, Outcome
from imageserver.protocol.messages import JobStatus

# Clients poll previews every second, and scale them themselves.
MAX_PREVIEW_SIDE = 512
RUNNING_STATES = ("queued", "processing")
TIMESTAMP_FORMAT = "%Y%m%d%H%M%S"
# The first value of a progress bar: some clients treat 0 as the end.
MIN_PROGRESS = 0.01


class Automatic1111Error(BaseModel):
    """An error in AUTOMATIC1111's format, with three fields of this server: code, param and request_id."""

    error: str = Field(description="The kind of error.")
    detail: str = Field(description="One sentence for people.")
    body: str
    errors: str = Field(description="The same sentence, for clients that read this field.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field that caused the error.")
    request_id: int | None


class ImagesAndInfo(BaseModel):
    """The images as base64 without a prefix, the parameters of the request, and `info` as JSON in a string."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class ProgressState(BaseModel):
    """The state of a client's current request; the steps are those of its current image."""

    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_count: int = Field(description="Number of images; 0 while no request runs.")
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class ProgressResponse(BaseModel):
    """The progress of a client's current request; 0 if there is none."""

    progress: float
    eta_relative: float = Field(description="Expected seconds until it is done, including the queue.")
    state: ProgressState
    current_image: str | None = Field(description="The last preview as a PNG in base64.")
    textinfo: str | None


@dataclass(frozen=True)
class InterruptedResult(GenerationResult):
    """The previews of a request that was interrupted."""


def envelope(error: ServiceError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "detail": error.sentence,
        "body": "",
        "errors": error.sentence,
        "code": error.code,
        "param": error.param,
        "request_id": errors.native(error)["request_id"],
    }


def generated(service: Services, body: GeneratingBody, result: GenerationResult) -> tuple[ImagesAndInfo, list[str]]:
    """Return the response and all warnings; encoding and reading back infotexts happen on a thread of the pool."""
    warnings = [*result.warnings, *warnings_of(body)]
    if isinstance(result, InterruptedResult):
        warnings.append("The generation was interrupted: the images are previews.")

    def work() -> tuple[list[str], list[str]]:
        from imageserver.imaging.metadata import read_metadata

        images = [base64.b64encode(data).decode() for data in result.files] if body.send_images else []
        return images, [read_metadata(data).get("parameters", "") for data in result.files]

    images, infotexts = service.thread_pool.run(work)
    info = _info(body, result, infotexts) | {"warnings": warnings}
    generation = result.request.generation
    parameters = sent(body) | {"steps": generation.steps, "cfg_scale": generation.true_cfg_scale}
    return ImagesAndInfo(images=images, parameters=parameters, info=json.dumps(info)), warnings


def interrupted(
    service: Services, pending: PendingGeneration, preview_images: dict[int, PreviewImage], seconds: float
) -> InterruptedResult:
    """Return the last preview of each image of an interrupted request."""
    generation = pending.request.generation
    shown = sorted(preview_images.items())
    info = service.info_of(generation.model)
    outcome = Outcome(
        width=generation.width,
        height=generation.height,
        seeds=tuple(generation.seed + index for index, _ in shown),
        inference_time=seconds,
        queue_time=0.0,
        batch_size=1,
    )

    def work() -> tuple[bytes, ...]:
        from imageserver.imaging.previews import enlarged

        size = (generation.width, generation.height)
        pixels = [
            enlarged(image.pixels, (image.preview.width, image.preview.height), image.preview.scale, size)
            for _, image in shown
        ]
        image = Image(outcome, b"".join(each.tobytes() for each in pixels))
        return encode_images(image, replace(generation, count=len(shown)), info, pending.request.output_options).files

    files = service.thread_pool.run(work) if shown else ()
    return InterruptedResult(pending.request, outcome, files, info, "miss", pending.warnings)


def progress(status: JobStatus | None, preview: str | None) -> ProgressResponse:
    """Return the progress of the current request."""
    if status is None or status.state not in RUNNING_STATES:
        return ProgressResponse(
            progress=0.0, eta_relative=0.0, state=_state_of(status), current_image=None, textinfo=None
        )
    # A request that waits for its model has 0 images.
    count = max(1, status.n)
    each = max(1, status.total_steps // count)
    number = min(status.step // each, count - 1)
    done = status.step / status.total_steps if status.total_steps else 0.0
    return ProgressResponse(
        progress=round(min(1.0, max(MIN_PROGRESS, done)), 4),
        eta_relative=round(_seconds_left(status, done), 2),
        state=_state_of(status, f"Batch {number + 1} out of {count}", count, number, status.step - number * each, each),
        current_image=preview,
        textinfo=f"Waiting: {status.queue_position or 0} ahead." if status.state == "queued" else None,
    )


def preview_of(service: Services, status: JobStatus, preview_image: PreviewImage) -> str:
    """Return a preview as a PNG in base64, the one format that every client reads here."""

    def work() -> str:
        from imageserver.imaging.previews import image_file

        data = image_file(
            preview_image.pixels,
            (preview_image.preview.width, preview_image.preview.height),
            preview_image.preview.scale,
            (status.width, status.height),
            output_format="png",
            max_side=MAX_PREVIEW_SIDE,
        )
        return base64.b64encode(data).decode()

    return service.thread_pool.run(work)


def _seconds_left(status: JobStatus, done: float) -> float:
    """Return the remaining time by the request's own pace or, before its first step, by the estimate."""
    if done and status.started_at is not None:
        return max(0.0, (time.time() - status.started_at) * (1 - done) / done)
    return (status.queue_wait or 0.0) + (status.expected_seconds or 0.0)


def _state_of(
    status: JobStatus | None, job: str = "", count: int = 0, number: int = 0, step: int = 0, steps: int = 0
) -> ProgressState:
    return ProgressState(
        skipped=False,
        interrupted=status is not None and status.state == "cancelled",
        stopping_generation=False,
        job=job,
        job_count=count,
        job_timestamp=_timestamp(status.started_at or status.created_at) if status else "0",
        job_no=number,
        sampling_step=step,
        sampling_steps=steps,
    )


def _info(body: GeneratingBody, result: GenerationResult, infotexts: list[str]) -> dict[str, Any]:
    generation, info = result.request.generation, result.info
    seeds = list(result.outcome.seeds)
    extra = body.model_extra or {}
    subseed = extra.get("subseed") if isinstance(extra.get("subseed"), int) else -1
    # A blank means no negative prompt; clients that show it would send it back as one.
    negative_prompt = generation.negative_prompt.strip() and generation.negative_prompt
    return {
        "prompt": generation.prompt,
        "all_prompts": [generation.prompt] * len(seeds),
        "negative_prompt": negative_prompt,
        "all_negative_prompts": [negative_prompt] * len(seeds),
        "seed": seeds[0] if seeds else generation.seed,
        "all_seeds": seeds,
        "subseed": subseed,
        "all_subseeds": [subseed] * len(seeds),
        "subseed_strength": 0,
        "width": result.outcome.width,
        "height": result.outcome.height,
        "sampler_name": info.sampler_of(generation) if info else None,
        "cfg_scale": generation.true_cfg_scale,
        "steps": generation.steps,
        "batch_size": body.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": short_name(info.name) if info else None,
        "sd_model_hash": info.weights_hash if info else None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": _denoising_strength(body, generation),
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": datetime.now().astimezone().strftime(TIMESTAMP_FORMAT),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": __version__,
        "interrupted": isinstance(result, InterruptedResult),
    }


def _denoising_strength(body: GeneratingBody, generation: Generation) -> float | None:
    if isinstance(body, Img2ImgBody):
        return body.denoising_strength
    return generation.upscale.strength if generation.upscale else None


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime(TIMESTAMP_FORMAT)
