"""Queries about requests, whatever their dialect, and the answers."""

import msgspec

from imageserver.protocol.messages.generations import Preview
from imageserver.protocol.messages.message import NumberedMessage


class JobStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is known about one request, whatever its dialect; moments are Unix seconds, the rest of the times seconds.

    `state` is `queued`, `processing`, `completed`, `failed` or `cancelled`. `queue_position` jobs go before it. It ran
    last on `device`, as `/health` names them. Where `kind` is `caption`, an image is described and none generated.
    Where it is `model`, a model is being loaded: the steps are percents, and the fields about images are 0.
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
    revised_prompt: str | None = None
    cache: str | None = None
    device: str | None = None
    error: str | None = None
    code: str | None = None


class ListJobs(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: list the known requests, the newest first, those `among` some numbers, or `wanted` alone.

    With a `credential` only its own are listed, with `states` only those in one of them. `job` is the number of the
    query.
    """

    credential: str = ""
    wanted: int | None = None
    among: tuple[int, ...] | None = None
    states: tuple[str, ...] = ()
    limit: int = 100


class JobList(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer."""

    jobs: tuple[JobStatus, ...]


class CurrentJobRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: how far is the one request that a client of a dialect waits for?

    It is the first of its own that runs, else the first that waits, else the newest. Its own are those of its
    credential; without one, those from its address. `job` is the number of the query.
    """

    dialect: str
    credential: str = ""
    client: str = ""


class CurrentJob(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer, None where there is no such request.

    The raw bytes are the pixels of `preview`, its last one.
    """

    status: JobStatus | None = None
    preview: Preview | None = None

    @property
    def max_raw_bytes(self) -> int:
        return self.preview.max_raw_bytes if self.preview else 0


class CancelJob(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: stop request `wanted`, whoever waits for it; answered by its status in a JobList."""

    wanted: int
    credential: str = ""


class Watch(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: send every event of request `wanted` that is later than `after`, past ones at once.

    With `previews` its previews are sent too, of past ones the last, under the number of this query. An unknown request
    is answered with an empty JobList. `Cancel` with the number of this query ends the watch.
    """

    wanted: int
    credential: str = ""
    after: int = 0
    previews: bool = False


class JobEvent(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: event `number` of a watched request; it is the last one when the status has ended."""

    number: int
    name: str
    status: JobStatus
