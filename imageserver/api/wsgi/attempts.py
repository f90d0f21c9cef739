"""Attempts: which request a client library repeats, so that a retry joins what it asked for before.

A library that loses patience sends the same request again, without a key that would tell so. Every first attempt gets
such a key here, and a retry gets the key of an attempt whose client has left or was refused. SQLite is what all workers
share, as with request ids.
"""

import contextlib
import hashlib
import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imageserver.api.wsgi.disconnect import while_client_stays

logger = logging.getLogger(__name__)

# Seconds after which nobody comes back for an attempt; libraries retry within eight, or when Retry-After says.
REMEMBERED = 300.0
# An attempt that never ended belonged to a worker that was killed.
MAX_ATTEMPT_SECONDS = 86_400.0


class Attempts:
    """The attempts that are under way or may be repeated; each worker opens the table for itself."""

    def __init__(self, state_dir: Path) -> None:
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                state_dir / "attempts.sqlite", isolation_level=None, timeout=1, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS attempts ("
                "key TEXT PRIMARY KEY, request TEXT NOT NULL, ended INTEGER NOT NULL, at REAL NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise SystemExit(f"STATE_DIR={state_dir} cannot be written: {error}.") from error

    def begin(self, request: str) -> str:
        """Return a new key for the first attempt at `request`, which is any name that its repetitions share."""
        self._drop_old()
        key = secrets.token_hex(16)
        self._write("INSERT INTO attempts VALUES (?, ?, 0, ?)", key, request, time.time())
        return key

    def resume(self, request: str) -> str:
        """Return the key of the attempt at `request` that is repeated, a new one where none is known.

        Ended attempts go first: two clients may ask for the same at the same time, and only one of them repeats
        itself. One under way is taken as well, for a proxy may hide that its client has left.
        """
        self._drop_old()
        row = self._write(
            "UPDATE attempts SET ended = 0, at = ? WHERE key ="
            " (SELECT key FROM attempts WHERE request = ? ORDER BY ended DESC, at DESC LIMIT 1) RETURNING key",
            time.time(),
            request,
        )
        return str(row[0]) if row else self.begin(request)

    def end(self, key: str) -> None:
        """Let a repetition take the attempt: its client has left, or was refused."""
        self._write("UPDATE attempts SET ended = 1, at = ? WHERE key = ?", time.time(), key)

    def forget(self, key: str) -> None:
        """Drop an attempt that was answered: the same request is a new one from now on."""
        self._write("DELETE FROM attempts WHERE key = ?", key)

    @contextlib.contextmanager
    def under_way(self, key: str, environ: dict[str, Any]) -> Iterator[None]:
        """Keep the attempt until the block has answered it; a client that leaves, or is refused, may come back."""
        left = False

        def leave() -> None:
            nonlocal left
            left = True
            self.end(key)

        try:
            with while_client_stays(environ, leave):
                yield
        except BaseException:
            if not left:
                self.end(key)
            raise
        if not left:
            self.forget(key)

    def _drop_old(self) -> None:
        now = time.time()
        self._write(
            "DELETE FROM attempts WHERE (ended AND at < ?) OR at < ?", now - REMEMBERED, now - MAX_ATTEMPT_SECONDS
        )

    def _write(self, statement: str, *values: Any) -> Any:
        try:
            return self._database.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            # What is not remembered costs a retry its image a second time, and nobody an answer.
            logger.warning("An attempt cannot be remembered: %s", error)
            return None


def name_of(client: str, path: str, content: Any, *images: bytes | None) -> str:
    """Return the name that a request shares with its repetitions; the boundary of a form differs between them."""
    digest = hashlib.sha256(json.dumps([client, path, content]).encode())
    for image in images:
        digest.update(hashlib.sha256(image or b"").digest())
    return digest.hexdigest()
