"""A small scene for the timeline, served by a real server: long and short jobs, large and small ones, and a cancel.

Its jobs come at forwards and not at moments, so that machines of all speeds show the same play.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import Client
from benchmarks.conditions import Conditions
from benchmarks.servers import OURS
from benchmarks.servers.fleet import Fleet
from benchmarks.trace import Span, read_trace
from benchmarks.traffic import GenerationRequest

INTERVAL_SECONDS = 0.004


@dataclass(frozen=True)
class Part:
    """One job of the scene: after how many forwards of the device it comes, and after how many its client leaves."""

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


SCENE = (
    Part(0, 1024, 26),
    Part(5, 512, 24),
    Part(9, 512, 12, true_cfg_scale=4.0),
    Part(13, 512, 30, leaves_at=24),
    Part(17, 512, 6),
    Part(28, 512, 10),
    Part(48, 512, 4),
)


def play(model: Path, folder: Path) -> tuple[list[Span], list[str]]:
    """Return the trace of the scene and the labels of its jobs in their order."""
    fleet = Fleet(Conditions("demo", model), folder)
    try:
        with fleet.serving(OURS) as server:
            assert server.trace is not None
            clock = ForwardClock(server.trace)
            players = [
                threading.Thread(target=_perform, args=(server.port, part, index, clock))
                for index, part in enumerate(SCENE)
            ]
            for player in players:
                player.start()
            for player in players:
                player.join()
            return clock.forwards(), [part.label for part in SCENE]
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


def _perform(port: int, part: Part, index: int, clock: ForwardClock) -> None:
    client = Client(port)
    clock.wait_for(part.at)
    leaver = threading.Thread(target=_leave, args=(client, part, clock))
    leaver.start()
    # Equal prompts, so that the texts are equally long and the image shows the order of turns alone.
    client.ask(
        GenerationRequest(
            "a red circle on a blue background", 9_000 + index, part.steps, part.side, part.true_cfg_scale
        )
    )
    leaver.join()
    client.close()


def _leave(client: Client, part: Part, clock: ForwardClock) -> None:
    if part.leaves_at is not None:
        clock.wait_for(part.leaves_at)
        client.hang_up()
