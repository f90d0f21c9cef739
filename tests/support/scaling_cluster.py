"""A dispatcher with seats on other machines, and with one of its own where a test adds it; all engines are scripted."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.dispatch.seats.far.far_seats import POLL_SECONDS, FarSeats
from imageserver.dispatch.seats.seat import Seat, SeatReports
from imageserver.protocol.messages import REFUSED, ModelsLoaded, Submit
from imageserver.settings import Settings
from tests.support.dispatch_harness import INFO, Recorder, ScriptedEngine
from tests.support.factories import generation


class ScalingCluster:
    """A dispatcher without an engine, and machines that a test lets join; `engines` are those of all seats so far."""

    def __init__(self, **settings: Any) -> None:
        loaded = Settings(_env_file=None, **{"cluster": "head"} | settings)
        self.dispatcher = Dispatcher(loaded)
        self.engines: list[Any] = []
        self.far = FarSeats(loaded, self._new_engine, self.dispatcher, asyncio.get_running_loop().time)
        self.far.advance()

    def _new_engine(self, _: SeatConfig) -> Any:
        self.engines.append(_loading_engine())
        return self.engines[-1]

    def add_near(self) -> Any:
        """Add an engine on the first machine, which loads its model."""
        engine = _loading_engine()
        self.dispatcher.seats.add(Seat("cuda:0", engine))
        return engine

    def submit(self, job: int) -> Recorder:
        recorder = Recorder()
        self.dispatcher.submit(Submit(job=job, generation=generation(), timeout=600.0), recorder)
        return recorder

    async def advance(self, seconds: float) -> None:
        """Let time pass, looking as often as the dispatcher does."""
        for _ in range(int(seconds / POLL_SECONDS)):
            await asyncio.sleep(POLL_SECONDS)
            self.far.advance()

    async def place(self, engine: Any) -> None:
        """Let a stand-in find a machine, and its engine become ready."""
        engine.machine, engine.state = f"10.0.0.{self.engines.index(engine)} cpu", "ready"
        self.dispatcher.model_event(self._seat_of(engine), ModelsLoaded(job=0, models=(INFO,)))
        await self.advance(POLL_SECONDS)

    def find(self, engine: Any, machine: str = "") -> None:
        """Let a stand-in find a machine, where its engine begins to load."""
        engine.machine = machine or f"10.0.0.{self.engines.index(engine)} cpu"
        self._reports_of(engine).engine_changed()

    def fail(self, engine: Any, reason: str = "The model does not fit.") -> None:
        """Let an engine be unable to load its model."""
        engine.state, engine.reason = "failed", reason
        self._reports_of(engine).engine_changed()
        self._reports_of(engine).engine_lost(silent=False)

    def refuse(self, engine: Any) -> None:
        """Let a machine come that was asked for and cannot be used."""
        engine.phase, engine.reason = REFUSED, "The machine has another Python."
        self.dispatcher.engine_changed()

    def lose(self, engine: Any) -> None:
        """Let an engine die, and its stand-in start again, with the dispatcher told what it is told then."""
        engine.running.clear()
        engine.state = "restarting"
        self.dispatcher.engine_lost(self._seat_of(engine), silent=False)
        engine.machine, engine.state = "", "loading"
        self.dispatcher.engine_changed()

    def _reports_of(self, engine: Any) -> SeatReports:
        return SeatReports(self._seat_of(engine), self.dispatcher)

    def _seat_of(self, engine: Any) -> Seat:
        return next(seat for seat in self.dispatcher.seats if seat.engine is engine)


def _loading_engine() -> Any:
    engine: Any = ScriptedEngine(room=1)
    engine.state, engine.ready, engine.supervise = "loading", None, AsyncMock()
    return engine
