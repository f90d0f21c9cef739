"""The device seconds of each account in this hour and this day (UTC), with what its jobs under way will take.

A job is charged with its estimate when it is admitted, and with its true device time when it ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from imageserver.client_limits import ClientLimits
from imageserver.errors import QuotaExceeded

Period = Literal["hour", "day"]
PERIODS: dict[Period, int] = {"hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Reservation:
    """What a job under way is expected to take."""

    account: str
    seconds: float


@dataclass(frozen=True)
class UsageRow:
    """The seconds of an account in the period that ends at `until`, in Unix seconds."""

    account: str
    period: Period
    until: int
    seconds: float


def seconds_allowed(limits: ClientLimits) -> dict[Period, float]:
    """Return the device seconds that a client may use in each period; 0 means any."""
    return {"hour": limits.seconds_per_hour, "day": limits.seconds_per_day}


class DeviceSeconds:
    """Charges accounts; `clock` is the wall clock, in Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, Period], UsageRow] = {}
        self._reservations: dict[int, Reservation] = {}
        self.changed: set[str] = set()

    def reserve(self, job: int, account: str, limits: ClientLimits, seconds: float, *, learnt: bool) -> None:
        """Charge a job's estimate; raises QuotaExceeded, which charges nothing.

        While nothing has been `learnt` the estimate may be far off, and only what is used up already refuses.
        """
        self.refuse(account, limits, seconds, learnt=learnt)
        self._reservations[job] = Reservation(account, seconds)

    def refuse(self, account: str, limits: ClientLimits, seconds: float, *, learnt: bool) -> None:
        """Raise the QuotaExceeded that `reserve` would raise."""
        for period, limit in seconds_allowed(limits).items():
            used, left = self.use(account, period)
            if limit and (used >= limit or (learnt and used + seconds > limit)):
                raise _refusal(period, limit, used, seconds if learnt else 0.0, left)

    def record_end(self, job: int, seconds: float) -> None:
        """Charge what a job has really taken; one without an estimate is nobody's."""
        reservation = self._reservations.pop(job, None)
        if reservation is None or seconds <= 0:
            return
        for period in PERIODS:
            self._add(self._row(reservation.account, period), seconds)
        self.changed.add(reservation.account)

    def use(self, account: str, period: Period) -> tuple[float, float]:
        """Return the seconds of an account in a period, with those of its jobs under way, and when the period ends.

        The end is in seconds from now.
        """
        row = self._row(account, period)
        reserved = sum(each.seconds for each in self._reservations.values() if each.account == account)
        return row.seconds + reserved, row.until - self._clock()

    def add(self, rows: Iterable[UsageRow]) -> None:
        """Add what accounts used before a restart."""
        for old in rows:
            row = self._row(old.account, old.period)
            if row.until == old.until:
                self._add(row, old.seconds)

    def pop_changed(self) -> list[UsageRow]:
        """Return the rows of the accounts that have changed since the last call, and forget periods that are over."""
        now = self._clock()
        self._rows = {key: row for key, row in self._rows.items() if row.until > now}
        changed, self.changed = self.changed, set()
        return [row for row in self._rows.values() if row.account in changed]

    def _add(self, row: UsageRow, seconds: float) -> None:
        self._rows[row.account, row.period] = replace(row, seconds=row.seconds + seconds)

    def _row(self, account: str, period: Period) -> UsageRow:
        """Return the row of the current period."""
        length = PERIODS[period]
        until = int(self._clock() // length + 1) * length
        row = self._rows.get((account, period))
        return row if row is not None and row.until == until else UsageRow(account, period, until, 0.0)


def _refusal(period: Period, limit: float, used: float, seconds: float, left: float) -> QuotaExceeded:
    setting = f"QUOTA_SECONDS_PER_{period.upper()}"
    if seconds > limit:
        # Waiting does not help.
        return QuotaExceeded(
            f"The images would take {seconds:.1f} device seconds, more than the {limit:g} per {period} that are "
            f"allowed ({setting})."
        )
    needed = f", and the images would take {seconds:.1f}" if seconds else ""
    return QuotaExceeded(
        f"{min(used, limit):.1f} of {limit:g} device seconds per {period} are used ({setting}){needed}.",
        retry_after=left,
    )
