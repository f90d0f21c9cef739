"""A generation on its way: submitted, run, reported, ended."""

from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.errors import BY_CODE, ServiceError
from imageserver.generation import Generation, Outcome
from imageserver.protocol.messages.message import NumberedMessage


class Submit(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: put a generation into the queue.

    `timeout` is in seconds from now. With `client_timeout`, a job that cannot be done within so many seconds is refused
    at once. Jobs of one model with the same `twin_key` that are under way at a time are run once. A client that repeats
    its request sends the same `retry_key`; `is_retry` says that it does. The frame's raw bytes are the pixels of the
    generation's source. A new job is charged to the `account` within its `limits`. `dialect` is the API that the client
    speaks, `client` the address it speaks from, `trace_id` what log lines name its trace by.
    """

    generation: Generation
    timeout: float
    client_timeout: float | None = None
    twin_key: str | None = None
    retry_key: str | None = None
    is_retry: bool = False
    credential: str = ""
    account: str = ""
    limits: ClientLimits = NO_LIMITS
    dialect: str = "native"
    client: str = ""
    trace_id: str = ""

    @property
    def max_raw_bytes(self) -> int:
        return self.generation.source_bytes


class AdmissionRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: would a generation be refused now? Asked before its image is decoded or prompt improved."""

    credential: str = ""
    account: str = ""
    limits: ClientLimits = NO_LIMITS


class Admitted(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: there is room, which is not kept."""


class CacheHit(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: a generation was answered from the cache; for the record."""

    generation: Generation
    outcome: Outcome
    credential: str = ""
    dialect: str = "native"


class EstimateRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: when would this generation be done, and what would the engine read of it?"""

    generation: Generation
    credential: str = ""


class TokenCountRequest(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to engine: count what you would read of this generation."""

    generation: Generation


class TokenCounts(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher: tokens of the prompt that would be read, tokens of all images, and warnings.

    The counts are None where the model has been unloaded meanwhile.
    """

    prompt_tokens: int | None = None
    image_tokens: int | None = None
    warnings: tuple[str, ...] = ()


class Estimate(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: expected seconds on the device and before it, and the number of jobs that go before.

    `learnt` is False while nothing has been measured yet; `median_error` is that of the last jobs, as a share. What the
    engine would read of the prompts is None while no engine can be asked. `memory_mb` is the expected peak of the
    device's memory in MiB, None before one was measured.
    """

    own: float
    wait: float
    position: int
    learnt: bool
    median_error: float | None
    memory_mb: float | None = None
    token_counts: TokenCounts | None = None


class Queued(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the job waits; expected seconds on the device and before it, and jobs that go before."""

    own: float
    wait: float
    position: int


class Cancel(NumberedMessage, frozen=True, kw_only=True):
    """Stop a job; unknown or finished jobs are ignored."""


class ClientLeft(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: a job's client has left, and may come back for it soon."""


class Run(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to engine: start this job, which has `waited` seconds already on behalf of `credential`."""

    generation: Generation
    credential: str = ""
    waited: float = 0.0
    trace_id: str = ""

    @property
    def max_raw_bytes(self) -> int:
        return self.generation.source_bytes


class Started(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: the device has begun with the job; the dispatcher adds its name."""

    device: str = ""


class Progress(NumberedMessage, frozen=True, kw_only=True):
    """`step` of `total` denoising steps are done, over all images of the job.

    `time_left` is the seconds until the job is expected to be done; the dispatcher adds it.
    """

    step: int
    total: int
    time_left: float | None = None


class Preview(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: how far image `index` has come after `step` of its `total` steps.

    The raw bytes are `height * width * 3` of RGB, as small as the latents; each pixel stands for `scale * scale` of the
    image, whose centre the response shows.
    """

    index: int
    step: int
    total: int
    width: int
    height: int
    scale: int = 1

    @property
    def max_raw_bytes(self) -> int:
        return 3 * self.width * self.height


class Finished(NumberedMessage, frozen=True, kw_only=True):
    """The job is done; its pixels are the frame's raw bytes. `joined` says that it was run for an earlier twin."""

    outcome: Outcome
    joined: bool = False

    @property
    def max_raw_bytes(self) -> int:
        return self.outcome.pixel_bytes


class Failed(NumberedMessage, frozen=True, kw_only=True):
    """The job ended without an image."""

    code: str
    sentence: str
    param: str | None = None
    retry_after: float | None = None

    def as_error(self) -> ServiceError:
        """Return the failure as the exception it was before it travelled."""
        return BY_CODE.get(self.code, ServiceError)(self.sentence, param=self.param, retry_after=self.retry_after)


# What the engine reports of a job, the last two at its end.
JobReport = Started | Progress | Preview | Finished | Failed


def failed(job: int, error: ServiceError) -> Failed:
    return Failed(job=job, code=error.code, sentence=error.sentence, param=error.param, retry_after=error.retry_after)
