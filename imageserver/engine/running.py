"""A job inside the engine: its pictures, each on its own track, and what it may claim."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from imageserver.engine.costs import ForwardCosts
from imageserver.engine.suspension import Track, TrackCancelled
from imageserver.generation import Generation
from imageserver.messages import Run
from imageserver.telemetry.logs import current_request
from imageserver.turn_order import Claim


class Draws(Protocol):
    """The part of a Painter that a job needs; tests have their own."""

    def draw(self, generation: Generation, index: int, on_step: Callable[[], None]) -> torch.Tensor:
        """Return picture `index`, calling the gated denoiser on the way."""

    def develop(self, picture: torch.Tensor, generation: Generation) -> bytes:
        """Return the bytes of a drawn picture."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""

    def warnings(self, generation: Generation) -> list[str]:
        """Return what the client should know about this generation."""


class RunningJob:
    """A job and the tracks of its pictures; times in seconds."""

    def __init__(self, request: Run, painter: Draws, on_step: Callable[["RunningJob"], None]) -> None:
        self.id = request.job
        self.generation = request.generation
        self.began = time.monotonic()
        self.steps_done = 0
        self.largest_batch = 1
        self.device_time = 0.0
        self.calls_per_step = painter.calls_per_step(request.generation)
        self.credential = request.credential
        self._arrived = self.began - request.waited
        self._on_step = on_step
        self._painter = painter
        self.tracks = [self._track(painter, index) for index in range(request.generation.count)]

    @property
    def total_steps(self) -> int:
        """The steps of all pictures."""
        return self.generation.steps * self.generation.count

    @property
    def shares_forwards(self) -> bool:
        """Whether its calls may be merged with others'; the cache tiers would couple neighbours."""
        return not self.generation.deterministic and self.generation.quality == "exact"

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
        return b"".join(self._painter.develop(track.result, self.generation) for track in self.tracks)

    def _track(self, painter: Draws, index: int) -> Track:
        def step_ended() -> None:
            self.steps_done += 1
            self._on_step(self)

        def draw() -> Any:
            current_request.set(self.id)  # every line that is logged on the way carries it
            return painter.draw(self.generation, index, step_ended)

        return Track(self.id, index, draw)
