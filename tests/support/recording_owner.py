"""What far seats open and close, without a dispatcher."""

import asyncio

from imageserver.dispatch.seats.far import far_seats
from imageserver.dispatch.seats.far.far_seats import FarSeats
from imageserver.settings import Settings
from tests.support.dispatch_harness import ScriptedEngine


class RecordingOwner:
    """A dispatcher that records which seats were opened and closed."""

    def __init__(self, **settings) -> None:
        self.expected_wait = 0.0
        self.seats, self.wanted, self.avoided = [], [], []
        self.now = 1000.0
        self.far = FarSeats(Settings(_env_file=None, cluster="head", **settings), self.engine, self, lambda: self.now)

    def engine(self, config):
        engine = ScriptedEngine(room=1)
        engine.state, engine.config = "loading", config
        return engine

    def open_seat(self, seat):
        self.seats.append(seat)
        self.start(seat)

    def start(self, seat):
        """Start a seat's stand-in, as its supervision does."""
        environment = seat.engine.config.environment()
        self.wanted.append(environment["CLUSTER_SEAT"])
        self.avoided.append(environment["CLUSTER_AVOIDED"])

    async def rest(self, seat):
        """Let a seat's engine end for want of requests."""
        seat.engine.state, seat.engine.is_resting = "idle", True
        await self.advance(1)

    async def wake(self, seat):
        """Let a seat that rests look for a machine again."""
        seat.engine.machine = ""
        self.start(seat)
        seat.engine.state = "loading"
        await self.advance(1)

    async def close_seat(self, seat):
        self.seats.remove(seat)

    async def advance(self, seconds=0.0):
        """Let time pass, looking as often as the dispatcher does."""
        for _ in range(1 + int(seconds / far_seats.POLL_SECONDS)):
            self.far.advance()
            await asyncio.sleep(0)
            self.now += far_seats.POLL_SECONDS

    async def place(self, machine):
        """Let the stand-in that waits find a machine, and its engine become ready."""
        seat = next(seat for seat in self.seats if not seat.engine.machine)
        seat.engine.machine, seat.engine.state = machine, "ready"
        await self.advance()
        return seat

    async def fail(self, machine):
        """Let the stand-in that waits find a machine on which the engine cannot load its model."""
        seat = next(seat for seat in self.seats if not seat.engine.machine)
        seat.engine.machine, seat.engine.state = machine, "failed"
        await self.advance()
        return seat
