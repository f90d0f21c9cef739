"""The processes themselves: how they meet, and the state of the service."""

import msgspec

from imageserver.generation import DeviceInfo, ModelInfo
from imageserver.protocol.messages.message import Message


class Hello(Message, frozen=True, kw_only=True):
    """Open a connection; `key` proves that the peer may (it matters on TCP only)."""

    role: str
    key: str
    pid: int


class Ping(Message, frozen=True, kw_only=True):
    """Dispatcher to engine: give a sign of life, answered by Pong between two forwards."""


class Pong(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the thread that generates is alive."""


class Placed(Message, frozen=True, kw_only=True):
    """Stand-in to dispatcher: the engine that it stands for is on this machine and device."""

    machine: str


class Retiring(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: send no more jobs, and end me once I have none; my machine is about to leave."""


class GroupUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many cards of a group compute now, how often cards were lost, and why there are too few if so."""

    cards: int
    lost: int
    reason: str


class DeviceUsage(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: seconds the device worked, seconds it did not though jobs were there, and what it did.

    `calls` of the denoiser were served by `forwards`, so `calls / forwards` is the mean batch; of the foreseen ones
    only the hits count, those that the pipeline then made. `recompilations` are those of COMPILE=1 after a model was
    ready, and code that it gave up. `allocated` is the bytes of its tensors and `reserved` those that it keeps from
    other programs; on a CPU both are the process's. `group` is known where the engine has several cards.
    """

    busy: float = 0.0
    idle: float = 0.0
    forwards: int = 0
    calls: int = 0
    lookahead_hits: int = 0
    lookahead_misses: int = 0
    recompilations: int = 0
    allocated: int = 0
    reserved: int = 0
    group: GroupUse | None = None


class SeatStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one seat: the state of its engine, its device, its models and its work.

    `state` is `healthy`, `loading` or `degraded`, the latter also while an engine is replaced. `device` is None while
    there is no engine. `remaining` is the expected device seconds of the `active` generations.
    """

    name: str
    state: str
    reason: str
    phase: str
    load_fraction: float | None
    device: DeviceInfo | None
    loaded: tuple[str, ...]
    active: int
    remaining: float
    engine_restarts: int
    engine_pid: int | None
    usage: DeviceUsage = DeviceUsage()


class Snapshot(Message, frozen=True, kw_only=True):
    """Dispatcher to workers: the state of the service, sent at every change and every second.

    `state` is `loading`, `healthy` or `degraded`. `queue_wait` is the estimated seconds until a new job would start.
    `info` describes the default model, None while no engine is ready, unless IDLE_UNLOAD has ended it; `default` is its
    name. `models` are all that were loaded since the dispatcher's start, `loaded` the names of those that are loaded
    now. `retry_after` are the seconds after which a request that needs an engine may come again, None where that would
    be in vain. `phase`, `load_fraction` and `reason` describe the model that is being loaded, whatever the state.
    `seats` are the engines one by one; what is said without them is of all together.
    """

    state: str
    reason: str
    phase: str
    load_fraction: float | None
    info: ModelInfo | None
    default: str = ""
    models: tuple[ModelInfo, ...] = ()
    loaded: tuple[str, ...] = ()
    retry_after: float | None = None
    queue_length: int
    active: int
    total: int
    completed: int
    failed: int
    cancelled: int
    engine_restarts: int
    idle_unloads: int = 0
    queue_wait: float
    estimate_error: float | None = None
    usage: DeviceUsage = DeviceUsage()
    dispatcher_pid: int
    engine_pid: int | None
    seats: tuple[SeatStatus, ...] = ()

    @property
    def expected_wait(self) -> float:
        """The seconds that a generation which comes now would wait: nothing while a seat is free."""
        return 0.0 if self.seats_free else self.queue_wait

    @property
    def seats_free(self) -> int:
        """How many engines accept generations and have none."""
        return sum(seat.state == "healthy" and not seat.active for seat in self.seats)

    @property
    def model_loaded(self) -> bool:
        """Whether the default model is in memory; its ModelInfo outlives its unloading."""
        return self.info is not None and self.info.name in self.loaded
