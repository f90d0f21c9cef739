"""Pause an unmodified diffusers pipeline at every call of its denoiser.

Each picture runs the stock `pipe(...)` in a greenlet, a Track. The denoiser's forward is replaced by a Gate: called
inside a track it hands its arguments to whoever resumed the track, and returns what that one sends back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import greenlet
import torch


@dataclass(frozen=True)
class Call:
    """One suspended call of the denoiser."""

    arguments: Mapping[str, Any]


class TrackCancelled(BaseException):
    """Raised inside a pipeline that is to stop; not an Exception, so that no pipeline swallows it."""


class Track(greenlet.greenlet):
    """One picture on its way through the pipeline.

    `waiting` is the call it is suspended at; `result` is what `draw` returned once the track is dead.
    """

    def __init__(self, job: int, index: int, draw: Callable[[], Any]) -> None:
        super().__init__(draw)
        self.job = job
        self.index = index
        self.waiting: Call | None = None
        self.result: Any = None

    def begin(self) -> None:
        """Run until the first call of the denoiser."""
        self._receive(self.switch())

    def resume(self, output: Any) -> None:
        """Give the suspended call its result, and run until the next one or the end."""
        self._receive(self.switch(output))

    def abort(self, error: BaseException) -> None:
        """Raise `error` inside the suspended call and let it come out here, unless it is TrackCancelled."""
        if self.dead:
            return
        try:
            if self.waiting is None:
                self.throw(TrackCancelled)  # never begun: there is nothing to unwind
            else:
                self.throw(error)
        except TrackCancelled:
            pass
        finally:
            self.waiting = None

    def _receive(self, outcome: Any) -> None:
        if self.dead:
            self.waiting, self.result = None, outcome
        else:
            self.waiting = outcome


class Gate:
    """Stands in for the denoiser's forward."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        self._denoiser = denoiser
        self.forward: Callable[..., Any] = denoiser.forward
        denoiser.forward = self

    def __call__(self, **arguments: Any) -> Any:
        """Suspend the current track; outside any track, simply compute."""
        current = greenlet.getcurrent()
        if not isinstance(current, Track):
            return self.forward(**arguments)
        assert current.parent is not None
        return current.parent.switch(Call(arguments))

    def remove(self) -> None:
        """Give the denoiser its own forward back."""
        del self._denoiser.forward
