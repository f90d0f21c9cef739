"""Lease numbers for engines on other machines: each is higher than every earlier one, also over restarts."""

import time
from contextlib import closing
from pathlib import Path

from imageserver.errors import StorageFull
from imageserver.outputs.state import StateDatabase


def next_lease(state_dir: Path) -> int:
    """Return the next number: the clock in milliseconds, or one more than the last number where that is ahead.

    A folder that is full or was deleted stops no engine: the clock alone decides then.
    """
    now = time.time_ns() // 1_000_000
    with closing(StateDatabase(state_dir, durable=False)) as database:
        try:
            [[last]] = database.execute(
                "UPDATE counter SET last = max(last + 1, ?) WHERE id = 2 RETURNING last", (now,)
            )
        except StorageFull:
            return now
    return int(last)
