"""Pause an unmodified diffusers pipeline at every call of its denoiser.

Each image runs the stock `pipe(...)` in a greenlet, a Track. A Gate replaces the denoiser's forward: called inside a
track, it passes its arguments to the caller that resumed the track, and returns that caller's reply.
"""

import contextlib
import inspect
import time
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


@dataclass(frozen=True)
class Interruption:
    """A point between two parts of a computation; `before` returns the track that must go on before this one, if any.

    Any other track may.
    """

    before: Callable[[], "Track | None"]


class TrackCancelled(BaseException):
    """Raised inside a pipeline to stop it; not an Exception, so that no pipeline catches it."""


class Track(greenlet.greenlet):
    """One image on its way through the pipeline.

    `waiting` is the call it is suspended at, `interruption` the point if it is none; `result` is what `generate`
    returned once the track is dead. `texts` are those that its pipeline has encoded, as arguments of the denoiser.
    `seconds_since_call` counts the time that it has computed since its last call.
    """

    def __init__(self, job: int, index: int, generate: Callable[[], Any]) -> None:
        super().__init__(generate)
        self.job = job
        self.index = index
        self.waiting: Call | None = None
        self.interruption: Interruption | None = None
        self.pass_name = ""
        self.texts: list[Mapping[str, Any]] = []
        self.result: Any = None
        self.seconds_since_call = 0.0

    @property
    def begun(self) -> bool:
        return self.dead or self.suspended

    @property
    def suspended(self) -> bool:
        return self.waiting is not None or self.interruption is not None

    def begin(self) -> None:
        """Run until the first call of the denoiser."""
        self._receive(self.switch())

    def resume(self, output: Any) -> None:
        """Give the suspended call its result, and run until the next one or the end."""
        before, began = self.seconds_since_call if self.interruption else 0.0, time.monotonic()
        self._receive(self.switch(output))
        self.seconds_since_call = before + time.monotonic() - began

    def let_others_go_first(self, before: Callable[[], "Track | None"] = lambda: None) -> None:
        """Suspend this track, from inside of it, until it is resumed with any value."""
        assert self.parent is not None
        self.parent.switch(Interruption(before))

    def abort(self, error: BaseException) -> None:
        """Raise `error` inside the suspended call; it propagates from here, unless it is TrackCancelled."""
        if self.dead:
            return
        try:
            if self.suspended:
                self.throw(error)
            else:
                self.throw(TrackCancelled)  # never begun, so nothing to unwind
        except TrackCancelled:
            pass
        finally:
            self.waiting = self.interruption = None

    def _receive(self, outcome: Any) -> None:
        self.waiting = self.interruption = None
        if self.dead:
            self.result = outcome
        elif isinstance(outcome, Interruption):
            self.interruption = outcome
        else:
            self.waiting = outcome


class Gate:
    """Replaces the denoiser's forward."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        self._denoiser = denoiser
        self._names = tuple(inspect.signature(denoiser.forward).parameters)
        self.install()
        # The pipeline announces each pass with a context for cache hooks. Suspended pipelines would overwrite each
        # other's, so it is only recorded here; the code that computes sets the real one.
        self.set_context: SetContext | None = getattr(denoiser, "cache_context", None)
        denoiser.cache_context = self._record_pass  # type: ignore[assignment]

    def install(self) -> None:
        """Replace the denoiser's forward, again where something else has replaced it.

        Offloading does: at the end of every pipeline call it installs its hooks again.
        """
        if self._denoiser.__dict__.get("forward") is not self:
            self._stock: Callable[..., Any] = self._denoiser.forward
            self._denoiser.forward = self

    def forward(self, **arguments: Any) -> Any:
        """Compute with the replaced forward.

        Group offloading on CUDA removes its hook in the first call and puts the forward that it had wrapped here.
        """
        try:
            return self._stock(**arguments)
        finally:
            self.install()

    def __call__(self, *positional: Any, **arguments: Any) -> Any:
        """Suspend the current track; outside any track, simply compute."""
        # Mergers know arguments only by their names.
        arguments |= zip(self._names, positional, strict=False)
        current = greenlet.getcurrent()
        if not isinstance(current, Track):
            return self.forward(**arguments)
        assert current.parent is not None
        return current.parent.switch(Call(arguments, current.pass_name))

    def remove(self) -> None:
        """Restore the denoiser's own forward."""
        del self._denoiser.forward
        del self._denoiser.cache_context

    @contextlib.contextmanager
    def _record_pass(self, name: str, **_: Any) -> Iterator[None]:
        current = greenlet.getcurrent()
        if isinstance(current, Track):
            current.pass_name = name
        yield
