"""The seats on other machines: one for every engine that the cluster offers, or as many as the wait asks for.

A stand-in without a machine is the way to find one. Where all offered engines are used, one stand-in more waits for the
next offer. With SCALE_UP_WAIT, a stand-in asks Ray for a machine instead, which an autoscaling cluster answers.

A seat whose engine has failed uses nothing and counts as none, except where machines are asked for: its machine may
still be paid for. It stays, and says why, while that machine is passed over; with SCALE_UP_WAIT it goes at once where
the next request may ask for another one.
"""

import asyncio
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.far.retry_pauses import AskingPause, RetryPauses
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED, Seat
from imageserver.dispatch.tasks import Tasks
from imageserver.settings import Settings

STAND_IN = "imageserver.cluster.stand_in"
POLL_SECONDS = 0.5
# How long the expected wait must be too long before another machine is asked for.
HOLD_SECONDS = 3.0
# How long an engine must have been idle, or a request for a machine in vain, before it is given back.
IDLE_SECONDS = 120.0


class SeatOwner(Protocol):
    """The dispatcher: it runs the seats."""

    @property
    def expected_wait(self) -> float:
        """Seconds that a job which comes now would wait; infinite while others wait for an engine in vain."""

    def open_seat(self, seat: Seat) -> None: ...

    async def close_seat(self, seat: Seat) -> None: ...


@dataclass
class FarSeatRecord:
    """What is known of one seat: when it was last needed, whether it was ever ready, and whether it has failed.

    `avoided` are the machines that its stand-in passes over.
    """

    needed_at: float
    was_ready: bool = False
    has_failed: bool = False
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
        self._pauses = RetryPauses()
        self._asking = AskingPause(self._limit)
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
        has_lost_engine = False
        for seat, record in list(self._seats.items()):
            if self._is_lost(seat, record, now) or self._looks_in_the_wrong_place(seat, record):
                has_lost_engine |= record.was_ready
                self._close(seat)
        while self._wanted_engines < self._settings.min_engines and self._may_ask:
            self._open(REQUESTED)
        if has_lost_engine:
            self._close_last_refused()
        if self._settings.scale_up_wait:
            self._follow_wait(now)
        else:
            self._follow_offers()

    def _is_lost(self, seat: Seat, record: FarSeatRecord, now: float) -> bool:
        """Return whether the seat has no use: what was learnt of one machine holds for no other one."""
        machine = seat.engine.machine
        if seat.engine.is_ready and not record.was_ready:
            # Once: another engine of the same name may fail beside it.
            record.was_ready = True
            self._pauses.forget(machine)
            self._asking.forget()
        if seat.engine.state == "failed":
            if not record.has_failed:
                record.has_failed = True
                self._pauses.begin(machine, now)
                if seat.wanted == REQUESTED:
                    self._asking.record_failure(machine, now)
            seat.retried_at = self._next_try(machine, now)
            asks_again = self._settings.scale_up_wait > 0 and self._may_ask
            return asks_again or (self._pauses.is_over(machine, now) and self._asking.is_over(now))
        # One that was woken looks for a machine again.
        return record.was_ready and not machine and not seat.engine.is_resting

    def _next_try(self, machine: str, now: float) -> float:
        """Return when a machine may be used that has failed, or the next one be asked for; infinite if neither will."""
        ends = [end for end in (self._pauses.end(machine), self._asking.end) if end is not None]
        return min((end for end in ends if end > now), default=max(ends, default=math.inf))

    def _close_last_refused(self) -> None:
        """Let refused machines go where no other engine is there or asked for: one that is lost may come back.

        The next stand-in finds them there, so it passes them over and goes on asking.
        """
        others = [seat for seat in self._working if not (seat.is_refused or seat.is_spare)]
        if not others:
            for seat in [seat for seat in self._working if seat.is_refused]:
                self._close(seat)

    @property
    def _working(self) -> list[Seat]:
        """The seats that use an engine, or will."""
        return [seat for seat in self._seats if seat.engine.state != "failed"]

    @property
    def _wanted_engines(self) -> int:
        """How many engines there are or have been asked for."""
        return sum(not seat.is_spare for seat in self._working)

    @property
    def _may_ask(self) -> bool:
        """Whether a machine may be asked for, those included that are there and cannot be used."""
        return self._asked_for < self._limit and self._asking.is_over(self._clock())

    @property
    def _asked_for(self) -> int:
        """How many machines are used, asked for, or passed over."""
        return self._wanted_engines + len(self._avoided)

    @property
    def _limit(self) -> int:
        return self._settings.max_engines or max(1, self._settings.min_engines)

    @property
    def _refuses(self) -> bool:
        """Whether an engine has failed and no machine may be asked for: requests are refused, so none of them waits."""
        return len(self._working) < len(self._seats) and not self._may_ask

    @property
    def _avoided(self) -> frozenset[str]:
        """The machines whose engines have failed: another engine would fail there too, while a new machine waits."""
        return self._pauses.machines(self._clock())

    def _looks_in_the_wrong_place(self, seat: Seat, record: FarSeatRecord) -> bool:
        """Return whether a stand-in without a machine avoids others than it should, or may ask instead of waiting."""
        could_ask = seat.is_spare and self._settings.scale_up_wait > 0 and self._may_ask
        avoids_others = record.avoided != self._avoided
        if not seat.is_searching:
            # Jobs count on one that was woken, so it only goes where it keeps a machine from them.
            avoids_others = bool(record.avoided - self._avoided)
        return seat.is_waiting_for_machine and (could_ask or avoids_others)

    def _follow_offers(self) -> None:
        """Let exactly one stand-in wait for the next engine that is offered."""
        waiting = [seat for seat in self._working if not _has_machine(seat)]
        if not waiting and self._may_open():
            self._open(OFFERED)
        elif len(waiting) > 1 and len(self._working) > self._settings.min_engines:
            spare = [seat for seat in waiting if seat.is_spare]
            self._close((spare or waiting)[-1])

    def _follow_wait(self, now: float) -> None:
        """Ask for one machine at a time while the wait is too long, and give back what nobody needs."""
        too_long = self._owner.expected_wait > self._settings.scale_up_wait
        is_asking = not all(map(_has_machine, self._working))
        self._waits_since = (self._waits_since or now) if too_long and not is_asking else None
        has_waited = self._waits_since is not None and now - self._waits_since >= HOLD_SECONDS
        if has_waited and self._may_open():
            self._open(REQUESTED if self._may_ask else OFFERED)
        elif self._refuses and not is_asking and self._may_open():
            self._open(OFFERED)
        # What is of no use goes first: MIN_ENGINES keeps the last ones.
        for seat in sorted(self._working, key=lambda seat: not seat.is_refused):
            record = self._seats[seat]
            if seat.is_busy or (too_long and not seat.is_refused):
                record.needed_at = now
            elif now - record.needed_at >= IDLE_SECONDS and len(self._working) > self._settings.min_engines:
                self._close(seat)

    def _may_open(self) -> bool:
        return not self._settings.max_engines or len(self._working) < self._settings.max_engines

    def _open(self, wanted: str) -> None:
        name = f"machine {next(self._numbers)}"
        record = FarSeatRecord(needed_at=self._clock(), avoided=self._avoided)
        config = SeatConfig(name, "auto", STAND_IN, lambda: self._environment(seat, record), is_far=True)
        seat = Seat(name, self._new_engine(config), wanted)
        seat.retried_at = self._pauses.last_end(record.needed_at)
        self._seats[seat] = record
        self._owner.open_seat(seat)

    def _environment(self, seat: Seat, record: FarSeatRecord) -> dict[str, str]:
        """Return what a stand-in is told at its start, and record it; one that is woken may ask no more, or again."""
        if record.was_ready and self._settings.scale_up_wait:
            seat.wanted = REQUESTED if self._asked_for <= self._limit else OFFERED
        record.avoided = self._avoided
        return {"CLUSTER_SEAT": seat.wanted, "CLUSTER_AVOIDED": ",".join(sorted(record.avoided))}

    def _close(self, seat: Seat) -> None:
        del self._seats[seat]
        seat.is_closing = True
        self._closing.start(self._owner.close_seat(seat))


def _has_machine(seat: Seat) -> bool:
    """Return whether a seat has a machine; one that rests has left it, for the next."""
    return bool(seat.engine.machine) and seat.engine.state != "idle"
