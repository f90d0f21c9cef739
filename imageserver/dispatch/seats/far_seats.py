"""The seats on other machines: one for every engine that the cluster offers, or as many as the wait asks for.

A stand-in without a machine is the way to find one. Where all offered engines are used, one stand-in more waits for the
next offer. With SCALE_UP_WAIT, a stand-in asks Ray for a machine instead, which an autoscaling cluster answers.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED, Seat
from imageserver.dispatch.tasks import Tasks
from imageserver.settings import Settings

STAND_IN = "imageserver.cluster.stand_in"
POLL_SECONDS = 0.5
# How long the expected wait must be too long before another machine is asked for.
HOLD_SECONDS = 3.0
# How long an engine must have been idle, or a request for a machine in vain, before it is given back.
IDLE_SECONDS = 120.0
# Before a machine whose engine could not load its model is tried again.
RETRY_SECONDS = 30.0


class SeatOwner(Protocol):
    """The dispatcher: it runs the seats."""

    @property
    def expected_wait(self) -> float:
        """Seconds that a job which comes now would wait; infinite while others wait for an engine in vain."""

    def open_seat(self, seat: Seat) -> None: ...

    async def close_seat(self, seat: Seat) -> None: ...


@dataclass
class FarSeatRecord:
    """What is known of one seat: when it was last needed, whether it was ever ready, since when it has failed.

    `avoided` are the machines that its stand-in passes over.
    """

    needed_at: float
    was_ready: bool = False
    failed_at: float | None = None
    avoided: frozenset[str] = frozenset()


class FarSeats:
    """Opens and closes seats as machines come and go, and as the expected wait grows and shrinks."""

    def __init__(
        self, settings: Settings, new_engine: Callable[[SeatConfig], EngineProcess], owner: SeatOwner,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """Count time with `clock`, in seconds."""
        self._settings = settings
        self._new_engine = new_engine
        self._owner = owner
        self._clock = clock
        self._numbers = itertools.count(1)
        self._seats: dict[Seat, FarSeatRecord] = {}
        self._waits_since: float | None = None
        self._closing = Tasks()

    async def watch(self) -> None:
        """Follow the cluster for ever."""
        while True:
            self.advance()
            await asyncio.sleep(POLL_SECONDS)

    def advance(self) -> None:
        """Open and close what is due now."""
        now = self._clock()
        for seat, record in list(self._seats.items()):
            if self._is_lost(seat, record, now) or self._looks_in_the_wrong_place(seat, record):
                self._close(seat)
        while len(self._seats) < self._settings.min_engines:
            self._open(REQUESTED)
        if self._settings.scale_up_wait:
            self._follow_wait(now)
        else:
            self._follow_offers()

    def _is_lost(self, seat: Seat, record: FarSeatRecord, now: float) -> bool:
        """Return whether the seat has no use: what was learnt of one machine holds for no other one."""
        record.was_ready = record.was_ready or seat.engine.is_ready
        if seat.engine.state == "failed":
            record.failed_at = record.failed_at or now
            return now - record.failed_at >= RETRY_SECONDS
        # One that was woken looks for a machine again.
        return record.was_ready and not seat.engine.machine and not seat.engine.is_resting

    @property
    def _avoided(self) -> frozenset[str]:
        """The machines whose engines have failed: another engine would fail there too, while a new machine waits."""
        return frozenset(seat.engine.machine for seat in self._seats if seat.engine.state == "failed")

    def _looks_in_the_wrong_place(self, seat: Seat, record: FarSeatRecord) -> bool:
        """Return whether a stand-in without a machine has been told to avoid other ones than are to be avoided now."""
        return seat.is_waiting_for_machine and not seat.engine.is_resting and record.avoided != self._avoided

    def _follow_offers(self) -> None:
        """Let exactly one stand-in wait for the next engine that is offered."""
        waiting = [seat for seat in self._seats if not _has_machine(seat)]
        if not waiting and self._may_open():
            self._open(OFFERED)
        elif len(waiting) > 1 and len(self._seats) > self._settings.min_engines:
            self._close(waiting[-1])

    def _follow_wait(self, now: float) -> None:
        """Ask for one machine at a time while the wait is too long, and give back what nobody needs."""
        too_long = self._owner.expected_wait > self._settings.scale_up_wait
        is_asking = not all(map(_has_machine, self._seats))
        self._waits_since = (self._waits_since or now) if too_long and not is_asking else None
        if self._waits_since is not None and now - self._waits_since >= HOLD_SECONDS and self._may_open():
            self._open(REQUESTED)
        for seat, record in list(self._seats.items()):
            if seat.is_busy or too_long:
                record.needed_at = now
            elif now - record.needed_at >= IDLE_SECONDS and len(self._seats) > self._settings.min_engines:
                self._close(seat)

    def _may_open(self) -> bool:
        return not self._settings.max_engines or len(self._seats) < self._settings.max_engines

    def _open(self, wanted: str) -> None:
        name = f"machine {next(self._numbers)}"
        avoided = self._avoided
        environment = {"CLUSTER_SEAT": wanted, "CLUSTER_AVOIDED": ",".join(sorted(avoided))}
        config = SeatConfig(name, "auto", STAND_IN, environment, is_far=True)
        seat = Seat(name, self._new_engine(config), wanted)
        self._seats[seat] = FarSeatRecord(needed_at=self._clock(), avoided=avoided)
        self._owner.open_seat(seat)

    def _close(self, seat: Seat) -> None:
        del self._seats[seat]
        self._closing.start(self._owner.close_seat(seat))


def _has_machine(seat: Seat) -> bool:
    """Return whether a seat has a machine, or had one that is avoided; one that rests has left it, for the next."""
    return bool(seat.engine.machine) and seat.engine.state != "idle"
