"""Run a generation for any dialect: from the cache, together with the same request, or by the engine."""

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gevent.event import Event

from imageserver import __version__
from imageserver.api.generation.better_prompt import is_asked_for, with_better_prompt
from imageserver.api.generation.request_times import RequestTimes
from imageserver.api.inputs.retry_headers import Retry
from imageserver.api.output_options import OutputOptions, encode_images
from imageserver.api.services import Services
from imageserver.api.wsgi.bodies.arriving import BODY_KEY
from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.dispatch.client.ticket import GenerationUpdate, Image, PreviewImage
from imageserver.errors import Cancelled, InvalidParameter, ServiceError
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.outputs.cache import Answer, key_of
from imageserver.protocol.messages import CacheHit, Progress, Queued, Started, Submit
from imageserver.telemetry.logs import current_trace
from imageserver.web_addresses import network_of

logger = logging.getLogger(__name__)

# Streams say something at least so often, so that proxies keep them open.
HEARTBEAT_SECONDS = 10.0
# A stream has each file, its base64, the event with that, and the bytes that are being sent.
SENT_COPIES = 4

Origin = Literal["hit", "miss", "join"]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A generation, how its images are encoded, and how long the client waits.

    `timeout` in seconds ends the request; `patience` is the client's own timeout, if it sent one: a request that cannot
    be finished by then is refused at once. `idempotency_key` makes a repeated request the same one. A client with such
    a key, or one whose library may `retry`, may come back: its generation is kept for a while when it leaves, unless it
    leaves before `returns_after` seconds since it `arrived` (monotonic clock). `source` holds the pixels that
    `generation.source` describes. `client` is the address that the request came from; the `account` is charged within
    its `limits`. `still_wanted` is asked once it is submitted, and before that where it took a while.
    """

    number: int
    generation: Generation
    output_options: OutputOptions
    timeout: float
    patience: float | None = None
    use_cache: bool = True
    idempotency_key: str | None = None
    retry: Retry | None = None
    returns_after: float = 0.0
    arrived: float = field(default_factory=time.monotonic)
    credential: str = ""
    account: str = ""
    limits: ClientLimits = NO_LIMITS
    dialect: str = "native"
    client: str = ""
    source: bytes = b""
    still_wanted: Callable[[], bool] = lambda: True

    def without_pixels(self) -> "GenerationRequest":
        """Return it as a stream needs it, which may begin before the dispatcher has the pixels, and outlasts them."""
        return replace(self, source=b"")


@dataclass(frozen=True)
class GenerationResult:
    """The encoded images of a request, the model that generated them, where they came from, and all warnings."""

    request: GenerationRequest
    outcome: Outcome
    files: tuple[bytes, ...]
    info: ModelInfo | None
    origin: Origin
    warnings: list[str]

    @property
    def generation(self) -> Generation:
        """What was generated: the request's, with the better prompt where one was written."""
        return self.request.generation.as_generated(self.outcome)


# What happens to a generation on its way; None is a heartbeat, the result comes last.
Update = Queued | Started | Progress | PreviewImage | GenerationResult | None


class PendingGeneration:
    """A generation on its way, with its `request` and the `warnings` about it."""

    def __init__(self, service: Services, request: GenerationRequest, warnings: list[str] | None = None) -> None:
        self._service = service
        self.request = request
        self.warnings = warnings or []
        self._prompt_warnings: list[str] = []
        self._stopped = Event()
        self._client_may_return = False
        self._times = RequestTimes(service, request.generation, request.arrived)
        # Whom the memory counts as.
        self._client = network_of(request.client)

    def updates(self) -> Generator[Update]:
        """Yield the updates, the result last; raises the ServiceError that prevented it.

        The first update comes once the request is accepted, so a refusal is raised before it. Only where an endpoint
        takes long to improve the prompt may heartbeats come first, once the request would have been accepted.
        """
        return self._times.follow(self._updates())

    def _updates(self) -> Iterator[Update]:
        service, request = self._service, self.request
        cached = self.cached()
        if cached is not None:
            request = self.request = request.without_pixels()
            with service.waiting.held(self._client, _bytes_of(cached)):
                service.client.record_cache_hit(
                    CacheHit(
                        job=request.number,
                        generation=request.generation,
                        outcome=cached.outcome,
                        credential=request.credential,
                        dialect=request.dialect,
                    )
                )
                self._times.complete(cached.outcome, "hit")
                yield cached
            return
        service.waiting.refuse_overdrawn(self._client)
        began = time.monotonic()
        generation = yield from self._improved()
        waited = time.monotonic() - began
        # One that lacks its better prompt joins none that has it; but a retry joins its first try, come what may.
        as_sent = generation.enhancement is not None or request.idempotency_key is not None
        message = Submit(
            job=request.number,
            generation=generation,
            timeout=max(0.0, request.timeout - waited),
            client_timeout=None if request.patience is None else max(0.0, request.patience - waited),
            twin_key=_twin_key(request if as_sent else replace(request, generation=generation)),
            retry_key=request.retry.key if request.retry else None,
            is_retry=request.retry is not None and request.retry.count > 0,
            credential=request.credential,
            account=request.account,
            limits=request.limits,
            dialect=request.dialect,
            client=request.client,
            trace_id=current_trace.get(),
        )
        ticket = service.client.submit(message, request.source)
        # Only now: whatever cancels it from here on finds it in the dispatcher, and what came before shows here.
        if self._stopped.is_set() or not request.still_wanted():
            self.cancel()
            raise Cancelled("The generation was cancelled.")
        if self._client_may_return:
            service.client.client_left(request.number)
        # The dispatcher has it now; the wait for the images may be long.
        request = self.request = request.without_pixels()
        # Mapped, so that nothing here keeps an image's pixels while its files are sent.
        for update in map(self._updated, ticket.updates(HEARTBEAT_SECONDS)):
            with service.waiting.added(self._client, _bytes_of(update)):
                yield update

    def _updated(self, update: GenerationUpdate) -> Update:
        if isinstance(update, Started):
            self._times.record_device(update.device)
        return self._finished(update) if isinstance(update, Image) else update

    def _improved(self) -> Generator[None, None, Generation]:
        """Return the generation for the engine, with the prompt that an endpoint has written for it.

        Raises what refuses a generation, and Cancelled.
        """
        service, request = self._service, self.request
        if not is_asked_for(service, request.generation):
            return request.generation
        # One that may have been generated already, or that joins its first try, takes no place in the queue.
        if request.idempotency_key is None and not (request.retry and request.retry.count):
            service.client.request_admission(request.number, request.credential, request.account, request.limits)
        # A prompt may take half a minute, and the dispatcher, which counts the pixels of its queue, has none of these.
        with service.waiting.held(self._client, len(request.source)):
            generation, self._prompt_warnings = yield from with_better_prompt(
                service,
                request.generation,
                request.credential,
                left=min(request.timeout, math.inf if request.patience is None else request.patience),
                stopped=self._stopped,
                pause=HEARTBEAT_SECONDS,
            )
        if not request.still_wanted() or self._stopped.is_set():
            raise Cancelled("The generation was cancelled.")
        return generation

    def leave_to_next_attempt(self, errors: tuple[type[ServiceError], ...]) -> None:
        """Leave what ends with one of these errors to the attempt that follows: only its last one is measured."""
        self._times.leave_to_next_attempt(errors)

    def stream(self, environ: dict[str, Any]) -> Generator[Update]:
        """Return the updates; a client that hangs up, or an iterator that is closed before its end, stops the rest.

        A refusal is raised here and not by the iterator: nothing of a response has been sent then.
        """
        updates = self.updates()
        with while_client_stays(environ, self.client_left):
            first = next(updates)

        def follow() -> Generator[Update]:
            try:
                with while_client_stays(environ, self.client_left):
                    yield first
                    yield from updates
            except GeneratorExit:
                self.client_left()
                raise

        return follow()

    def result(self, environ: dict[str, Any]) -> GenerationResult:
        """Return the encoded images; raises the ServiceError that prevented them, Cancelled when the client left."""
        for update in self.stream(environ):
            # Counted longer than by its updates: until there is an answer, which then counts itself.
            keep_for_answer(environ, update)
        assert isinstance(update, GenerationResult)
        return update

    def cancel(self) -> None:
        """Stop it; whoever iterates the updates gets Cancelled."""
        self._stopped.set()
        self._service.client.cancel(self.request.number)

    def client_left(self) -> None:
        """Stop it, unless its client may come back for it."""
        request = self.request
        may_return = request.idempotency_key is not None or request.retry is not None
        if may_return and time.monotonic() - request.arrived >= request.returns_after:
            # It finds the images under way or finished.
            self._client_may_return = True
            self._service.client.client_left(request.number)
        else:
            self.cancel()

    def _finished(self, image: Image) -> GenerationResult:
        # Where it joined one with a better prompt, it has that.
        about_prompt = [] if image.outcome.revised_prompt else self._prompt_warnings
        # Whoever repeats the request, or joins it, reads them too.
        outcome = replace(image.outcome, warnings=(*about_prompt, *image.outcome.warnings))
        service = self._service
        # A retry gets the images of its first try, whose random seed was another.
        generation = replace(self.request.generation, seed=outcome.seeds[0])
        request = self.request = replace(self.request, generation=generation)
        info = service.info_of(generation.model)
        began = time.monotonic()
        shown = generation.as_generated(outcome)
        encoded = service.thread_pool.run(encode_images, image, shown, info, request.output_options)
        files = encoded.files
        self._times.record_encoding(time.monotonic() - began)
        if info is not None:
            # Before the response goes out: a client that repeats itself at once finds it.
            lacks_prompt = bool(generation.enhancement) and not outcome.revised_prompt
            is_complete = not lacks_prompt and not encoded.lacks_manifest
            for key in _cache_keys(service, request, info, is_complete=is_complete):
                service.thread_pool.run(service.cache.put, key, Answer(outcome, files, _request_digest(request, info)))
        logger.info(
            "Generated %d x %dx%d in %.2f s after %.2f s in the queue.",
            generation.count, outcome.width, outcome.height, outcome.inference_time, outcome.queue_time,
            extra={
                "prompt": shown.prompt, "seed": outcome.seeds[0], "model_id": info.name if info else None,
                "latency_ms": round(1000 * (outcome.queue_time + outcome.inference_time)),
                "vram_peak_mb": outcome.vram_peak_mb or None,
                "nsfw_detected": outcome.nsfw_detected,
                "key": request.credential or None,
                **self._times.log_fields(outcome),
            },
        )  # fmt: skip
        result = self._result(outcome, files, info, "join" if image.joined else "miss")
        self._times.complete(outcome, result.origin)
        return result

    def cached(self) -> GenerationResult | None:
        """Return the result if the cache has it; raises InvalidParameter for the key of another request."""
        service, request = self._service, self.request
        info = service.info_of(request.generation.model)
        if info is None:
            return None
        for key in _cache_keys(service, request, info):
            answer = service.thread_pool.run(service.cache.get, key)
            if answer is not None:
                if answer.request != _request_digest(request, info):
                    raise InvalidParameter(
                        "This Idempotency-Key was used for another request; send a new one.", param="Idempotency-Key"
                    )
                return self._result(replace(answer.outcome, queue_time=0.0), answer.files, info, "hit")
        return None

    def _result(
        self, outcome: Outcome, files: tuple[bytes, ...], info: ModelInfo | None, origin: Origin
    ) -> GenerationResult:
        request = self.request.without_pixels()
        return GenerationResult(request, outcome, files, info, origin, [*self.warnings, *outcome.warnings])


def keep_for_answer(environ: dict[str, Any], update: Update) -> None:
    """Count a result among what its request has in memory; of a stream, which has no one answer, the updates do."""
    if BODY_KEY in environ:
        environ[BODY_KEY].add(_bytes_of(update))


def _bytes_of(update: Update) -> int:
    """Return the memory that a result needs until it has been sent."""
    return SENT_COPIES * sum(map(len, update.files)) if isinstance(update, GenerationResult) else 0


def _cache_keys(
    service: Services, request: GenerationRequest, info: ModelInfo, *, is_complete: bool = True
) -> list[str]:
    """Return where the images are cached: under the idempotency key, and under all that decides their bytes.

    The next request may get the better prompt, or the manifest, without which one is not complete.
    """
    keys = []
    if request.idempotency_key is not None:
        keys.append(key_of("idempotency", request.credential, request.idempotency_key))
    if request.use_cache and is_complete:
        digest = _request_digest(request, info)
        # Not from another credential: the speed of the answer would tell what somebody else has generated.
        parts: tuple[Any, ...] = (
            __version__, info.name, info.revision, info.device.kind, digest, request.credential,
            request.output_options.provenance,
        )  # fmt: skip
        if is_asked_for(service, request.generation):
            # Another language model writes another prompt.
            parts = (*parts, service.settings.enhance_url, service.settings.enhance_model)
        keys.append(key_of(*parts))
    return keys


def _request_digest(request: GenerationRequest, info: ModelInfo) -> str:
    """Return a digest of the request that does not depend on the model's version or on whether it is loaded."""
    options = request.output_options
    encoding = (options.output_format, options.compression, options.aspect_ratio_name, str(options.font_path))
    return key_of(_pixels_of(request), info.name, encoding)


def _pixels_of(request: GenerationRequest) -> Generation:
    """Return what decides the pixels but for the model, whose name is not known while it loads."""
    return replace(request.generation, priority="normal", previews=0, model="")


def _twin_key(request: GenerationRequest) -> str | None:
    """Return the key under which identical requests of one client and model run once, with the same previews."""
    if request.use_cache:
        return key_of(_pixels_of(request), request.generation.previews, request.credential)
    if request.idempotency_key is not None:
        return key_of(_pixels_of(request), request.generation.previews, request.credential, request.idempotency_key)
    return None
