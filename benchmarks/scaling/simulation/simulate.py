"""Run traffic through a real dispatcher and virtual engines, in virtual time."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scaling.simulation.arrivals import Arrival
from benchmarks.scaling.simulation.virtual_engine import INFO, HostSeconds, VirtualEngine
from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.seats.seat import Seat
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, ModelsLoaded, Submit
from imageserver.settings import Settings
from tests.support.dispatch_harness import VirtualTimeLoop

MAX_QUEUE = 1_000_000


@dataclass(frozen=True)
class Simulated:
    """The latency of each arrival in seconds, in their order, and what the run took.

    `dispatcher` is processor time of the dispatcher's own code per virtual second, without its connections; `device`
    the share of the engines' time that was used.
    """

    latencies: list[float]
    dispatcher: float
    device: float
    longest_queue: int


def simulate(arrivals: Sequence[Arrival], engines: int, host: HostSeconds | None = None) -> Simulated:
    """Return what becomes of the arrivals with so many engines."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, tempfile.TemporaryDirectory() as folder:
        return runner.run(_Run(arrivals, host or HostSeconds()).simulate(engines, Path(folder)))


class _Run:
    """One run; it is the worker that all clients are connected to."""

    def __init__(self, arrivals: Sequence[Arrival], host: HostSeconds) -> None:
        self._arrivals = arrivals
        self._host = host
        self._latencies: dict[int, float] = {}
        self._seats: dict[VirtualEngine, Seat] = {}
        self._processor_seconds = 0.0
        self._longest_queue = 0

    async def simulate(self, engines: int, folder: Path) -> Simulated:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(Settings(_env_file=None, max_queue=MAX_QUEUE, state_dir=folder))
        for number in range(engines):
            engine = VirtualEngine(self._report, self._host)
            self._seats[engine] = Seat(f"card{number}", engine)  # type: ignore[arg-type]
            self._dispatcher.seats.add(self._seats[engine])
            self._dispatcher.model_event(self._seats[engine], ModelsLoaded(job=0, models=(INFO,)))
        self._start, self._done = self._loop.time(), self._loop.create_future()
        for number, arrival in enumerate(self._arrivals):
            self._loop.call_at(self._start + arrival.moment, self._submit, number, arrival)
        await self._done
        seconds = self._loop.time() - self._start
        busy = sum(engine.busy_seconds for engine in self._seats) / engines
        latencies = [self._latencies[number] for number in range(len(self._arrivals))]
        return Simulated(latencies, self._processor_seconds / seconds, busy / seconds, self._longest_queue)

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Receive what the dispatcher sends to its worker."""
        if isinstance(message, Failed):
            # The first one ends the run; those that fail beside it change nothing.
            if not self._done.done():
                self._done.set_exception(RuntimeError(f"A job failed: {message.sentence}"))
        elif isinstance(message, Finished):
            arrival = self._arrivals[message.job]
            self._latencies[message.job] = self._loop.time() + self._host.answer - self._start - arrival.moment
            if len(self._latencies) == len(self._arrivals):
                self._done.set_result(None)

    def _submit(self, number: int, arrival: Arrival) -> None:
        generation = Generation(
            prompt="", negative_prompt=" ", width=arrival.side, height=arrival.side, steps=arrival.steps,
            true_cfg_scale=1.0, seed=number, model=INFO.name,
        )  # fmt: skip
        began = time.thread_time()
        self._dispatcher.submit(Submit(job=number, generation=generation, timeout=1e6), self)
        self._processor_seconds += time.thread_time() - began
        self._longest_queue = max(self._longest_queue, len(self._dispatcher.jobs.queue))

    def _report(self, engine: VirtualEngine, message: Message) -> None:
        began = time.thread_time()
        self._dispatcher.job_event(self._seats[engine], message, b"")  # type: ignore[arg-type]
        self._processor_seconds += time.thread_time() - began
