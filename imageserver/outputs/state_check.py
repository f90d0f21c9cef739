"""Check the state database once, before the first worker starts.

What a worker finds can end that worker only, and the next one, again and again.
"""

import sqlite3
import time
from pathlib import Path

from imageserver.errors import StorageFull
from imageserver.outputs.state import DAMAGED, START_SECONDS, StateDatabase, is_busy, is_damage, is_full

# A lock that lasts longer than any transaction or migration is another program's.
LOCKED_SECONDS = 10.0
PAUSE_SECONDS = 0.1


def check_state(folder: Path) -> str:
    """Open the database, set it aside if it is damaged, and return a warning or an empty string.

    Raises SystemExit with one sentence when it cannot be used. A full disk is only a warning, because images can still
    be generated.
    """
    database = StateDatabase(folder)
    try:
        return _check(database, time.monotonic() + LOCKED_SECONDS)
    except sqlite3.Error as error:
        if is_full(error):
            return "WARNING The disk of STATE_DIR is full: no task can be stored until there is room."
        if is_busy(error):
            raise SystemExit(f"STATE_DIR={folder} is locked by another program.") from error
        raise SystemExit(f"STATE_DIR={folder} cannot be used: {error}.") from error
    except OSError as error:
        raise SystemExit(f"STATE_DIR={folder} cannot be written: {error.strerror or error}.") from error
    except StorageFull as error:
        raise SystemExit(f"STATE_DIR={folder} cannot be used. {error.sentence}") from error
    finally:
        database.close()


def _check(database: StateDatabase, deadline: float) -> str:
    warning = ""
    while True:
        try:
            _verify(database)
        except sqlite3.Error as error:
            if is_damage(error) and not warning:
                database.set_damaged_aside()
                warning = f"WARNING The state database was damaged: it is now {DAMAGED}, and its tasks are lost."
            elif is_busy(error) and time.monotonic() < deadline:
                time.sleep(PAUSE_SECONDS)
            else:
                raise
        else:
            return warning


def _verify(database: StateDatabase) -> None:
    connection = database.open(patience=START_SECONDS)
    [[answer]] = connection.execute("PRAGMA quick_check(1)")
    if answer != "ok":
        raise _damage(answer)
    # Tells whether it can be written.
    connection.execute("UPDATE counter SET last = last WHERE id = 1")


def _damage(sentence: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(sentence)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
