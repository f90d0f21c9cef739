"""What crosses a process border: small typed messages, each with raw bytes beside it for pixels.

A frame is two big-endian 32-bit lengths, a msgpack header and the raw bytes. Nothing is pickled.
"""

import struct

import msgspec

from imageserver.errors import BY_CODE, ServiceError
from imageserver.generation import Generation, Lora, ModelFacts, Outcome

LENGTHS = struct.Struct(">II")
MAX_HEADER = 16 * 1024 * 1024


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Anything that travels between the HTTP workers, the dispatcher and the engines."""


class Hello(Message, frozen=True, kw_only=True):
    """Open a connection; `key` proves that the peer may (it matters on TCP only)."""

    role: str
    key: str
    pid: int


class Submit(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: put a generation into the queue.

    `timeout` is in seconds from now. With `patience`, a job that cannot be done within so many seconds is refused at
    once. Jobs with the same `twin_key` that are under way at the same time are run once. The frame's raw bytes are the
    pixels of the generation's source. `dialect` is the API that the client speaks, `client` the address it speaks from.
    """

    job: int
    generation: Generation
    timeout: float
    patience: float | None = None
    twin_key: str | None = None
    credential: str = ""
    dialect: str = "native"
    client: str = ""


class Answered(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: a generation was answered from the cache; for the record."""

    job: int
    generation: Generation
    outcome: Outcome
    credential: str = ""
    dialect: str = "native"


class Ask(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: when would this generation be done?

    With `inspect` the engine is asked what it would read, which it answers between two forwards.
    """

    job: int
    generation: Generation
    credential: str = ""
    inspect: bool = False


class Inspect(Message, frozen=True, kw_only=True):
    """Dispatcher to engine: what would you read of this generation?"""

    job: int
    generation: Generation


class Inspected(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: tokens of the prompt that would be read, tokens of all pictures, and warnings."""

    job: int
    prompt_tokens: int
    image_tokens: int
    warnings: tuple[str, ...] = ()


class Forecast(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: expected seconds on the device and before it, and the number of jobs that go before.

    `learnt` is False while nothing has been measured yet; `median_error` is that of the last jobs, as a share. What the
    engine would read of the prompts is None while no engine can be asked. `memory_mb` is the expected peak of the
    device's memory in MiB, None before one was measured.
    """

    job: int
    own: float
    wait: float
    position: int
    learnt: bool
    median_error: float | None
    memory_mb: float | None = None
    inspected: Inspected | None = None


class Queued(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: the job is taken; expected seconds on the device and before it, and jobs that go before."""

    job: int
    own: float
    wait: float
    position: int


class Cancel(Message, frozen=True, kw_only=True):
    """Stop a job; unknown or finished jobs are ignored."""

    job: int


class Run(Message, frozen=True, kw_only=True):
    """Dispatcher to engine: start this job, which has `waited` seconds already on behalf of `credential`."""

    job: int
    generation: Generation
    credential: str = ""
    waited: float = 0.0


class Started(Message, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: the device has begun with the job."""

    job: int


class Progress(Message, frozen=True, kw_only=True):
    """`step` of `total` denoising steps are done, over all pictures of the job."""

    job: int
    step: int
    total: int


class Preview(Message, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: what picture `index` promises to become, after `step` of its `total` steps.

    The raw bytes are `height * width * 3` of RGB, as small as the latents: each pixel stands for `scale * scale` of the
    drawing, whose centre the answer shows.
    """

    job: int
    index: int
    step: int
    total: int
    width: int
    height: int
    scale: int = 1


class Finished(Message, frozen=True, kw_only=True):
    """The job is done; its pixels are the frame's raw bytes. `joined` tells that it was run for an earlier twin."""

    job: int
    outcome: Outcome
    joined: bool = False


class Failed(Message, frozen=True, kw_only=True):
    """The job ended without a picture."""

    job: int
    code: str
    sentence: str
    param: str | None = None
    retry_after: float | None = None

    def as_error(self) -> ServiceError:
        """Return the failure as the exception it was before it travelled."""
        return BY_CODE.get(self.code, ServiceError)(self.sentence, param=self.param, retry_after=self.retry_after)


class AskLoras(Message, frozen=True, kw_only=True):
    """Worker to dispatcher to engine: load one LoRA, or unload one by its name, and tell which are loaded then.

    They are those of `model`; a worker leaves it out for the one that answers requests which name none.
    """

    job: int
    load: Lora | None = None
    unload: str | None = None
    model: str = ""


class LorasLoaded(Message, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: the names of the loaded LoRAs, or why it was not done."""

    job: int
    names: tuple[str, ...] = ()
    failure: Failed | None = None


class Loading(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: how far the model has come; `fraction` is None while it cannot be known."""

    phase: str
    sentence: str
    fraction: float | None = None


class Ready(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the model is loaded."""

    facts: ModelFacts


class LoadFailed(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the model cannot be loaded; trying again would not help."""

    sentence: str


class AskModel(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: load a model, or unload one, and tell of it.

    With `default`, requests that name no model are answered by the loaded one from then on; with `fetch` it is
    downloaded where it has to be. It is a job like any other: `credential` owns it, `dialect` names the API that the
    client speaks.
    """

    job: int
    load: str = ""
    unload: str = ""
    default: bool = False
    fetch: bool = False
    credential: str = ""
    dialect: str = "native"


class LoadModel(Message, frozen=True, kw_only=True):
    """Dispatcher to engine: load a model as soon as there is room, answered by ModelsHeld.

    Without `fetch` only from the disk.
    """

    job: int
    name: str
    fetch: bool = False


class UnloadModel(Message, frozen=True, kw_only=True):
    """Dispatcher to engine: free the memory of a model, answered by ModelsHeld."""

    job: int
    name: str


class ModelsHeld(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the models that are loaded now, and why it was not done as asked.

    With job 0 nobody has asked.
    """

    job: int
    models: tuple[ModelFacts, ...] = ()
    failure: Failed | None = None


class ModelAnswer(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: what is known of the model that was asked for."""

    job: int
    facts: ModelFacts | None = None


class Usage(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: seconds the device worked, seconds it did not though jobs were there, and what it did.

    `calls` of the denoiser were served by `forwards`, so `calls / forwards` is the mean batch.
    """

    busy: float = 0.0
    idle: float = 0.0
    forwards: int = 0
    calls: int = 0


class JobStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is told of one request, whatever its dialect; moments are Unix seconds, the rest of the times seconds.

    `state` is `queued`, `processing`, `completed`, `failed` or `cancelled`. `queue_position` jobs go before it. Of a
    `kind` `model`, a model that is being loaded, the steps are percents, and what is said of pictures is 0.
    """

    id: int
    kind: str = "generation"
    model: str = ""
    dialect: str
    state: str
    prompt: str
    width: int
    height: int
    steps: int
    n: int
    seed: int
    priority: str
    created_at: float
    started_at: float | None = None
    completed_at: float | None = None
    step: int = 0
    total_steps: int = 0
    queue_position: int | None = None
    queue_wait: float | None = None
    expected_seconds: float | None = None
    inference_time: float | None = None
    vram_peak_mb: float | None = None
    seeds: tuple[int, ...] = ()
    cache: str | None = None
    error: str | None = None
    code: str | None = None


class ListJobs(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: which requests are known? `wanted` asks for one alone; the newest come first.

    With a `credential` only its own are told. `job` is the number of the question.
    """

    job: int
    credential: str = ""
    wanted: int | None = None
    state: str | None = None
    limit: int = 100


class JobList(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer."""

    job: int
    jobs: tuple[JobStatus, ...]


class AskCurrent(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: how is the one request that a client of a dialect is busy with?

    It is the first of its own that runs, else the first that waits, else the newest. Its own are those of its
    credential; without one, those from its address. `job` is the number of the question.
    """

    job: int
    dialect: str
    credential: str = ""
    client: str = ""


class Current(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer, None where there is no such request.

    The raw bytes are the pixels of `preview`, the last one of the picture in the making.
    """

    job: int
    status: JobStatus | None = None
    preview: Preview | None = None


class CancelJob(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: stop request `wanted`, whoever waits for it; answered by its status in a JobList."""

    job: int
    wanted: int
    credential: str = ""


class Watch(Message, frozen=True, kw_only=True):
    """Worker to dispatcher: tell every event of request `wanted` that is later than `after`, past ones at once.

    An unknown request is answered with an empty JobList. `Cancel` with the number of the question ends the watch.
    """

    job: int
    wanted: int
    credential: str = ""
    after: int = 0


class JobEvent(Message, frozen=True, kw_only=True):
    """Dispatcher to worker: event `number` of a watched request; it is the last one when the status has ended."""

    job: int
    number: int
    name: str
    status: JobStatus


class Snapshot(Message, frozen=True, kw_only=True):
    """Dispatcher to workers: the state of the service, sent at every change.

    `state` is `loading`, `healthy` or `degraded`. `queue_wait` is the estimated seconds until a new job would start.
    `facts` are those of the model that answers requests which name none; `models` are all that were loaded since the
    dispatcher's start, `held` the names of those that are loaded now. `phase`, `load_fraction` and `reason` tell of the
    model that is being loaded, whatever the state.
    """

    state: str
    reason: str
    phase: str
    load_fraction: float | None
    facts: ModelFacts | None
    models: tuple[ModelFacts, ...] = ()
    held: tuple[str, ...] = ()
    queue_length: int
    active: int
    total: int
    completed: int
    failed: int
    cancelled: int
    engine_restarts: int
    queue_wait: float
    estimate_error: float | None = None
    usage: Usage = Usage()
    dispatcher_pid: int
    engine_pid: int | None


AnyMessage = (
    Hello | Submit | Answered | Ask | Queued | Inspect | Inspected | Forecast | Cancel | Run | Started | Progress
    | Preview | Finished | Failed | ListJobs | JobList | AskCurrent | Current | CancelJob | Watch | JobEvent
    | AskLoras | LorasLoaded | AskModel | LoadModel | UnloadModel | ModelsHeld | ModelAnswer
    | Loading | Ready | LoadFailed | Usage | Snapshot
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def failed(job: int, error: ServiceError) -> Failed:
    """Return the message that carries `error`."""
    return Failed(job=job, code=error.code, sentence=error.sentence, param=error.param, retry_after=error.retry_after)


def pack(message: Message, raw_size: int = 0) -> bytes:
    """Return the lengths and header of a frame whose raw part has `raw_size` bytes."""
    header = _encoder.encode(message)
    return LENGTHS.pack(len(header), raw_size) + header


def unpack(header: bytes) -> AnyMessage:
    """Return the message in `header`; raises msgspec.DecodeError (a ValueError) for anything else."""
    return _decoder.decode(header)
