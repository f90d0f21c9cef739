"""Pause an unmodified diffusers pipeline at every call of its denoiser.

Each image runs the stock `pipe(...)` in a greenlet, a Track. The denoiser's forward is replaced by a Gate: called
inside a track it hands its arguments to whoever resumed the track, and returns what that one sends back.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import greenlet
import torch

SetContext = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Call:
    """One suspended call of the denoiser; `name` is the pass that the pipeline announced, such as `cond`."""

    arguments: Mapping[str, Any]
    name: str = ""


class TrackCancelled(BaseException):
    """Raised inside a pipeline that is to stop; not an Exception, so that no pipeline swallows it."""


class Track(greenlet.greenlet):
    """One image on its way through the pipeline.

    `waiting` is the call it is suspended at; `result` is what `generate` returned once the track is dead.
    """

    def __init__(self, job: int, index: int, generate: Callable[[], Any]) -> None:
        super().__init__(generate)
        self.job = job
        self.index = index
        self.waiting: Call | None = None
        self.pass_name = ""
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
        self._names = tuple(inspect.signature(denoiser.forward).parameters)
        self.install()
        # The pipeline announces each pass with a context for cache hooks. Suspended pipelines would overwrite each
        # other's, so it is only written down here; whoever computes sets the real one.
        self.set_context: SetContext | None = getattr(denoiser, "cache_context", None)
        denoiser.cache_context = self._record_pass  # type: ignore[assignment]

    def install(self) -> None:
        """Take the place of the denoiser's forward, again where somebody else has taken it.

        Offloading does: at the end of every pipeline call it hooks itself in anew.
        """
        if self._denoiser.__dict__.get("forward") is not self:
            self._stock: Callable[..., Any] = self._denoiser.forward
            self._denoiser.forward = self

    def forward(self, **arguments: Any) -> Any:
        """Compute with the forward whose place this is.

        Group offloading on CUDA hooks itself out in the first call and puts what it had wrapped in this place.
        """
        try:
            return self._stock(**arguments)
        finally:
            self.install()

    def __call__(self, *positional: Any, **arguments: Any) -> Any:
        """Suspend the current track; outside any track, simply compute."""
        # Whoever merges calls knows arguments by their names alone.
        arguments |= zip(self._names, positional, strict=False)
        current = greenlet.getcurrent()
        if not isinstance(current, Track):
            return self.forward(**arguments)
        assert current.parent is not None
        return current.parent.switch(Call(arguments, current.pass_name))

    def remove(self) -> None:
        """Give the denoiser its own forward back."""
        del self._denoiser.forward
        del self._denoiser.cache_context

    @contextlib.contextmanager
    def _record_pass(self, name: str, **_: Any) -> Iterator[None]:
        current = greenlet.getcurrent()
        if isinstance(current, Track):
            current.pass_name = name
        yield
