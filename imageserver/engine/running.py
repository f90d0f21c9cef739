"""A job inside the engine: its pictures, each on its own track, and what it may claim."""

import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from imageserver.engine.costs import ForwardCosts
from imageserver.engine.painter import Look, OnStep
from imageserver.engine.previews import Frame
from imageserver.engine.readings import Reading
from imageserver.engine.short_memory import current_notes
from imageserver.engine.suspension import Track, TrackCancelled
from imageserver.generation import Generation
from imageserver.messages import Run
from imageserver.telemetry.logs import current_request
from imageserver.turn_order import Claim


class Draws(Protocol):
    """The part of a Painter that a job needs; tests have their own."""

    def draw(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        """Return picture `index`, calling the gated denoiser on the way."""

    def develop(self, picture: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        """Return the bytes of a drawn picture."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""

    def reading(self, generation: Generation) -> Reading:
        """Return what the model reads of this generation, and what the client should know."""


StepDone = Callable[["RunningJob"], None]
# Told the picture's index and its step beside what can be seen then.
PreviewDrawn = Callable[["RunningJob", int, int, Frame], None]


class RunningJob:
    """A job and the tracks of its pictures; times in seconds, memory in bytes, `source` the source's pixels."""

    def __init__(
        self, request: Run, painter: Draws, step_done: StepDone, preview_drawn: PreviewDrawn, source: bytes = b""
    ) -> None:
        self.id = request.job
        self.generation = request.generation
        self.began = time.monotonic()
        self.steps_done = 0
        self.largest_batch = 1
        self.device_time = 0.0
        self.memory_peak = 0
        self.notes: list[str] = []
        self.calls_per_step = painter.calls_per_step(request.generation)
        self.credential = request.credential
        self._arrived = self.began - request.waited
        self._step_done = step_done
        self._preview_drawn = preview_drawn
        self._painter = painter
        self._source = source
        self._preview_steps = preview_steps(request.generation)
        self.tracks = [self._track(painter, index) for index in range(request.generation.count)]

    @property
    def total_steps(self) -> int:
        """The steps of all pictures."""
        return self.generation.drawn_steps * self.generation.count

    @property
    def shares_forwards(self) -> bool:
        """Whether its calls may be merged with others'; the cache tiers would couple neighbours."""
        return not self.generation.deterministic and self.generation.quality == "exact"

    def shares_forwards_with(self, leader: "RunningJob") -> bool:
        """Whether its calls may join the leader's: all pictures of a forward are computed with the same LoRAs."""
        return self.shares_forwards and self.generation.loras == leader.generation.loras

    @property
    def pixels(self) -> int:
        """The size of one picture."""
        return self.generation.width * self.generation.height

    @property
    def finished(self) -> bool:
        """Whether every picture is there."""
        return all(track.dead for track in self.tracks)

    def claim(self, costs: ForwardCosts) -> Claim:
        """Return what the job may claim at this moment."""
        step = costs.seconds(self.pixels) * self.calls_per_step
        return Claim(
            owner=self.id,
            credential=self.credential,
            priority=self.generation.priority,
            arrived=self._arrived,
            work=self.total_steps * step,
            remaining=(self.total_steps - self.steps_done) * step,
        )

    def abort(self) -> None:
        """Unwind every picture."""
        for track in self.tracks:
            track.abort(TrackCancelled())

    def pictures(self) -> bytes:
        """Return the pixels of all pictures, one after the other."""
        return b"".join(self._painter.develop(track.result, self.generation, self._source) for track in self.tracks)

    def _track(self, painter: Draws, index: int) -> Track:
        steps = itertools.count(1)

        def step_ended(look: Look) -> None:
            self.steps_done += 1
            step = next(steps)
            self._step_done(self)
            if step in self._preview_steps:
                self._preview_drawn(self, index, step, look())

        def draw() -> Any:
            current_request.set(self.id)  # every line that is logged on the way carries it
            current_notes.set(self.notes)
            return painter.draw(self.generation, index, step_ended, self._source)

        return Track(self.id, index, draw)


def preview_steps(generation: Generation) -> frozenset[int]:
    """Return the steps after which each picture is looked at: evenly spread, the last step left to the picture."""
    steps, wanted = generation.drawn_steps, generation.previews
    return frozenset(round(k * steps / (wanted + 1)) for k in range(1, wanted + 1)) - {0, steps}
