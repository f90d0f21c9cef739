"""Describe an image that a client sent: a job like that of an image, whose result is a text."""

import hashlib
import logging
import time
from collections.abc import Iterator
from functools import partial

from flask import request
from gevent.event import Event

from imageserver.api.generation.request_times import RequestTimes
from imageserver.api.generation.run import HEARTBEAT_SECONDS
from imageserver.api.inputs.images import init_image
from imageserver.api.inputs.images.init_image import MAX_INPUT_RATIO, InitImage
from imageserver.api.request_context import account, arrival, client_address, credential, limits, request_id
from imageserver.api.services import Services
from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.dispatch.client.ticket import GenerationUpdate, Image
from imageserver.errors import Cancelled
from imageserver.generation import CaptionForm, Generation, ModelInfo, Outcome, Source
from imageserver.protocol.messages import Started, Submit
from imageserver.settings import Settings
from imageserver.telemetry.logs import current_trace

logger = logging.getLogger(__name__)

# Qwen2.5-VL reads a token for 28 x 28 pixels, so 669 of them.
MAX_PIXELS = 512 * 1024


def caption(service: Services, data: bytes, form: CaptionForm, model: ModelInfo, *, name: str, dialect: str) -> str:
    """Return a text about the image in a file, written by a model.

    Raises InvalidParameter naming the field and its limit, what refuses or ends a generation, and Cancelled when the
    client leaves. The answer is not cached.
    """
    given = InitImage(image=data, names=(name, "mask"))
    generation, pixels = _read(service, given, form, model)
    times = RequestTimes(service, generation, arrival())
    stopped = Event()
    updates = times.follow(_updates(service, generation, pixels, dialect, stopped))
    with while_client_stays(request.environ, partial(_stop, service, request_id(), stopped)):
        for update in updates:
            if isinstance(update, Started):
                times.record_device(update.device)
            elif isinstance(update, Image):
                outcome = update.outcome
                # No image is encoded.
                times.record_encoding(0.0)
                times.complete(outcome, "miss")
    _log(outcome, model, times)
    return outcome.caption


def _stop(service: Services, job: int, stopped: Event) -> None:
    stopped.set()
    service.client.cancel(job)


def _updates(
    service: Services, generation: Generation, pixels: bytes, dialect: str, stopped: Event
) -> Iterator[GenerationUpdate]:
    """Submit the job once it is followed, so that it has the trace of its request, and yield its updates."""
    message = Submit(
        job=request_id(),
        generation=generation,
        timeout=_seconds_left(service),
        credential=credential(),
        account=account(),
        limits=limits(),
        dialect=dialect,
        client=client_address(),
        trace_id=current_trace.get(),
    )
    ticket = service.client.submit(message, pixels)
    # The dispatcher did not know the job that it was told to cancel before.
    if stopped.is_set():
        service.client.cancel(message.job)
        raise Cancelled("The client left.")
    yield from ticket.updates(HEARTBEAT_SECONDS)


def _read(service: Services, given: InitImage, form: CaptionForm, model: ModelInfo) -> tuple[Generation, bytes]:
    """Decode the image once there is room for it, as for a generation, and scale it down for the encoder."""
    settings = service.settings
    needed = service.thread_pool.run(init_image.memory_needed, given, settings)
    with service.decoding_memory.reserve(needed, _seconds_left(service), request.environ):
        service.client.request_admission(request_id(), credential())
        width, height, pixels = service.thread_pool.run(_scaled, given, settings)
    source = Source(strength=1.0, digest=hashlib.sha256(pixels).hexdigest())
    generation = Generation(
        prompt="",
        negative_prompt="",
        width=width,
        height=height,
        steps=0,
        true_cfg_scale=1.0,
        seed=0,
        count=0,
        source=source,
        model=model.name,
        caption=form,
    )
    return generation, pixels


def _scaled(given: InitImage, settings: Settings) -> tuple[int, int, bytes]:
    from imageserver.imaging import decoding, fitting

    image = decoding.read_image(given.image, name=given.names[0], max_pixels=MAX_INPUT_RATIO * settings.max_pixels)
    size = init_image.default_size(image.width, image.height, min(MAX_PIXELS, settings.max_pixels))
    return *size, fitting.fit_image(image, *size, "stretch").data


def _seconds_left(service: Services) -> float:
    return max(0.0, service.settings.request_timeout - (time.monotonic() - arrival()))


def _log(outcome: Outcome, model: ModelInfo, times: RequestTimes) -> None:
    """Log the times alone: what is written about a client's image is the client's."""
    logger.info(
        "Described an image in %.2f s after %.2f s in the queue.", outcome.inference_time, outcome.queue_time,
        extra={
            "model_id": model.name,
            "latency_ms": round(1000 * (outcome.queue_time + outcome.inference_time)),
            "vram_peak_mb": outcome.vram_peak_mb or None,
            "key": credential() or None,
            **times.log_fields(outcome),
        },
    )  # fmt: skip
