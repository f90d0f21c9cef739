"""The timeline's jobs, served by a real server: long and short ones, large and small ones, and a cancelled one.

They start at forwards and not at times, so that machines of all speeds show the same timeline.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import LoadClient
from benchmarks.conditions import Conditions
from benchmarks.servers import OURS
from benchmarks.servers.fleet import Fleet
from benchmarks.trace import Span, read_trace
from benchmarks.traffic import ImageRequest

INTERVAL_SECONDS = 0.004


@dataclass(frozen=True)
class TimelineJob:
    """One job: after how many forwards of the device it starts, and after how many its client disconnects."""

    at: int
    side: int
    steps: int
    true_cfg_scale: float = 1.0
    leaves_at: int | None = None

    @property
    def label(self) -> str:
        """The job in words."""
        guidance = ", guidance" if self.true_cfg_scale > 1 else ""
        leaves = ", client leaves" if self.leaves_at is not None else ""
        return f"{self.side}², {self.steps} steps{guidance}{leaves}"


JOBS = (
    TimelineJob(0, 1024, 26),
    TimelineJob(5, 512, 24),
    TimelineJob(9, 512, 12, true_cfg_scale=4.0),
    TimelineJob(13, 512, 30, leaves_at=24),
    TimelineJob(17, 512, 6),
    TimelineJob(28, 512, 10),
    TimelineJob(48, 512, 4),
)


def run_jobs(model: Path, folder: Path) -> tuple[list[Span], list[str]]:
    """Return the trace of the jobs and their labels, in order."""
    fleet = Fleet(Conditions("demo", model), folder)
    try:
        with fleet.serving(OURS) as server:
            assert server.trace is not None
            clock = ForwardClock(server.trace)
            threads = [
                threading.Thread(target=_perform, args=(server.port, job, index, clock))
                for index, job in enumerate(JOBS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return clock.forwards(), [job.label for job in JOBS]
    finally:
        fleet.stop()


class ForwardClock:
    """Counts the forwards of a trace from now on."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace
        self._before = 0
        self._before = len(self.forwards())

    def forwards(self) -> list[Span]:
        """Return the forwards so far."""
        return [span for span in read_trace(self._trace) if span.kind == "forward"][self._before :]

    def wait_for(self, count: int) -> None:
        """Wait until so many forwards are over."""
        while len(self.forwards()) < count:
            time.sleep(INTERVAL_SECONDS)


def _perform(port: int, job: TimelineJob, index: int, clock: ForwardClock) -> None:
    client = LoadClient(port)
    clock.wait_for(job.at)
    leaver = threading.Thread(target=_leave, args=(client, job, clock))
    leaver.start()
    # Equal prompts, so that the texts are equally long and the timeline shows nothing but the scheduling.
    client.ask(
        ImageRequest("a red circle on a blue background", 9_000 + index, job.steps, job.side, job.true_cfg_scale)
    )
    leaver.join()
    client.close()


def _leave(client: LoadClient, job: TimelineJob, clock: ForwardClock) -> None:
    if job.leaves_at is not None:
        clock.wait_for(job.leaves_at)
        client.hang_up()
