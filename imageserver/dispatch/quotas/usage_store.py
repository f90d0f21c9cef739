"""The device seconds of every account in the state database, so that a restart gives nobody a new quota."""

from collections.abc import Iterable
from pathlib import Path

from imageserver.dispatch.quotas.device_seconds import UsageRow
from imageserver.outputs.state import StateDatabase


class UsageStore:
    """Reads and writes usage; its calls wait for the disk, and each may come from another thread."""

    def __init__(self, state_dir: Path) -> None:
        # An hour's quota is not worth a wait for the disk at every job.
        self._database = StateDatabase(state_dir, durable=False)

    def load(self, now: float) -> list[UsageRow]:
        """Return the usage of periods that are not over; raises StorageFull."""
        rows = self._database.execute("SELECT account, period, until, seconds FROM usage WHERE until > ?", (now,))
        return [UsageRow(**row) for row in map(dict, rows)]

    def save(self, rows: Iterable[UsageRow], now: float) -> None:
        """Write rows and delete those of periods that are over; raises StorageFull."""
        self._database.execute_together(
            ("DELETE FROM usage WHERE until <= ?", (now,)),
            *(
                (
                    "INSERT OR REPLACE INTO usage (account, period, until, seconds) VALUES (?, ?, ?, ?)",
                    (row.account, row.period, row.until, row.seconds),
                )
                for row in rows
            ),
        )

    def close(self) -> None:
        self._database.close()
