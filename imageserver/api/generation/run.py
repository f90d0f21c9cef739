"""Fulfil an order, whatever dialect placed it: from the cache, together with a running twin, or by the engine."""

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from imageserver import __version__
from imageserver.api import output_options
from imageserver.api.services import Services
from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.dispatch.client.ticket import Image, PreviewImage
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.outputs.cache import Answer, key_of
from imageserver.protocol.messages import CacheHit, Progress, Queued, Started, Submit

logger = logging.getLogger(__name__)

# Streams say something at least so often, so that proxies keep them open.
HEARTBEAT = 10.0

Origin = Literal["hit", "miss", "join"]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A generation, how its images are wanted, and how long the client waits.

    `timeout` in seconds ends the order; `patience` is what the client itself said it would wait, if it did: an order
    that cannot be fulfilled by then is refused at once. `idempotency_key` makes a repeated order the same one; an order
    whose client returns for it, with a key or without, is kept for a while when the client leaves; one who leaves
    before `returns_after` seconds since it `arrived` (monotonic clock) has not lost patience and does not return.
    `source` holds the pixels that `generation.source` describes. `client` is the address that the order came from.
    """

    number: int
    generation: Generation
    finish: output_options.OutputOptions
    timeout: float
    patience: float | None = None
    use_cache: bool = True
    idempotency_key: str | None = None
    retry_key: str | None = None
    is_retry: bool = False
    returns_after: float = 0.0
    arrived: float = field(default_factory=time.monotonic)
    credential: str = ""
    dialect: str = "native"
    client: str = ""
    source: bytes = b""


@dataclass(frozen=True)
class GenerationResult:
    """The finished files of an order, and where they came from."""

    outcome: Outcome
    files: tuple[bytes, ...]
    facts: ModelInfo | None
    origin: Origin


# What happens to an order on its way; None is a heartbeat, the delivery comes last.
News = Queued | Started | Progress | PreviewImage | GenerationResult | None


class PendingGeneration:
    """An order on its way: iterate its `news`, end it with `cancel`."""

    def __init__(self, service: Services, order: GenerationRequest) -> None:
        self._service = service
        self._order = order

    def news(self) -> Iterator[News]:
        """Yield what happens, the delivery last; raises the ServiceError that prevented it.

        The first news come once the order is accepted, so a refusal is raised before them.
        """
        service, order = self._service, self._order
        cached = _cached(service, order)
        if cached is not None:
            service.client.record_cache_hit(
                CacheHit(
                    job=order.number,
                    generation=order.generation,
                    outcome=cached.outcome,
                    credential=order.credential,
                    dialect=order.dialect,
                )
            )
            yield cached
            return
        ticket = service.client.submit(
            Submit(
                job=order.number,
                generation=order.generation,
                timeout=order.timeout,
                patience=order.patience,
                twin_key=_twin_key(order),
                retry_key=order.retry_key,
                is_retry=order.is_retry,
                credential=order.credential,
                dialect=order.dialect,
                client=order.client,
            ),
            order.source,
        )
        for news in ticket.updates(HEARTBEAT):
            yield _delivered(service, order, news) if isinstance(news, Image) else news

    def cancel(self) -> None:
        """Stop it; whoever iterates the news gets Cancelled."""
        self._service.client.cancel(self._order.number)

    def client_left(self) -> None:
        """Stop it, unless its client will come back for it."""
        waited = time.monotonic() - self._order.arrived
        may_return = self._order.idempotency_key is not None or self._order.retry_key is not None
        if may_return and waited >= self._order.returns_after:
            # It finds the image under way or done.
            self._service.client.client_left(self._order.number)
        else:
            self.cancel()


def stream(service: Services, order: GenerationRequest, environ: dict[str, Any]) -> Generator[News]:
    """Return an order's news; it is cancelled when its client hangs up, or when the iterator is closed before its end.

    A refusal is raised here and not by the iterator: nothing of an answer has been sent then.
    """
    fulfilment = PendingGeneration(service, order)
    news = fulfilment.news()
    first = next(news)

    def follow() -> Generator[News]:
        try:
            with while_client_stays(environ, fulfilment.client_left):
                yield first
                yield from news
        except GeneratorExit:
            fulfilment.client_left()
            raise

    return follow()


def generate_images(service: Services, order: GenerationRequest, environ: dict[str, Any]) -> GenerationResult:
    """Return the finished images; raises the ServiceError that prevented them, Cancelled when the client left."""
    *_, delivery = stream(service, order, environ)
    assert isinstance(delivery, GenerationResult)
    return delivery


def _delivered(service: Services, order: GenerationRequest, image: Image) -> GenerationResult:
    # A retry gets the images of its first try, whose random seed was another.
    order = replace(order, generation=replace(order.generation, seed=image.outcome.seeds[0]))
    facts = service.info_of(order.generation.model)
    files = tuple(service.thread_pool.run(output_options.finish, image, order.generation, facts, order.finish))
    outcome = image.outcome
    if facts is not None:
        # Before the answer goes out: a client that repeats itself at once shall find it.
        for key in _cache_keys(order, facts):
            answer = Answer(outcome, files, _request_digest(order, facts))
            service.thread_pool.run(service.cache.put, key, answer)
    logger.info(
        "Generated %d x %dx%d in %.2f s after %.2f s in the queue.",
        order.generation.count, outcome.width, outcome.height, outcome.inference_time, outcome.queue_time,
        extra={
            "prompt": order.generation.prompt, "seed": outcome.seeds[0], "model_id": facts.name if facts else None,
            "latency_ms": round(1000 * (outcome.queue_time + outcome.inference_time)),
            "vram_peak_mb": outcome.vram_peak_mb or None,
            "nsfw_detected": outcome.nsfw_detected,
        },
    )  # fmt: skip
    return GenerationResult(outcome, files, facts, "join" if image.joined else "miss")


def is_cached(service: Services, order: GenerationRequest) -> bool:
    """Return whether the order would be answered from the cache."""
    return _cached(service, order) is not None


def _cached(service: Services, order: GenerationRequest) -> GenerationResult | None:
    facts = service.info_of(order.generation.model)
    if facts is None:
        return None
    for key in _cache_keys(order, facts):
        answer = service.thread_pool.run(service.cache.get, key)
        if answer is not None:
            if answer.request != _request_digest(order, facts):
                raise InvalidParameter(
                    "This Idempotency-Key was used for another request; take a new one.", param="Idempotency-Key"
                )
            return GenerationResult(replace(answer.outcome, queue_time=0.0), answer.files, facts, "hit")
    return None


def _cache_keys(order: GenerationRequest, facts: ModelInfo) -> list[str]:
    """Return where the order's answer is kept: under its idempotency key, and under all that decides its bytes."""
    keys = []
    if order.idempotency_key is not None:
        keys.append(key_of("idempotency", order.credential, order.idempotency_key))
    if order.use_cache:
        keys.append(key_of(__version__, facts.name, facts.revision, facts.device.kind, _request_digest(order, facts)))
    return keys


def _request_digest(order: GenerationRequest, facts: ModelInfo) -> str:
    """Return the name of what was asked for, whatever version answers it; the same while its model loads."""
    how = order.finish
    finish = (how.output_format, how.compression, how.aspect_ratio_name, str(how.font_path))
    return key_of(_pixels_of(order), facts.name, finish)


def _pixels_of(order: GenerationRequest) -> Generation:
    """Return what decides the pixels but for the model, whose name is not known while it loads."""
    return replace(order.generation, priority="normal", previews=0, model="")


def _twin_key(order: GenerationRequest) -> str | None:
    """Return the name under which identical orders of one model are run once; they are shown the same previews."""
    if order.use_cache:
        return key_of(_pixels_of(order), order.generation.previews)
    if order.idempotency_key is not None:
        return key_of(_pixels_of(order), order.generation.previews, order.credential, order.idempotency_key)
    return None
