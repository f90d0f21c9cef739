"""Starts the server of one command, and ends it with the command."""

import secrets
import subprocess
import sys
import threading
from typing import IO

from imageserver.cli.client.connection import ServerConnection
from imageserver.cli.engine_module import environment
from imageserver.cli.failure import CommandFailed
from imageserver.cli.terminal.progress import ProgressBar
from imageserver.settings import WORKING_DIR

STOP_SECONDS = 20.0


class OwnServer:
    """A server whose only client is this process; its log goes above the bar where there is one."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self._log: threading.Thread | None = None

    def __enter__(self) -> ServerConnection:
        """Return a connection to the server, which may still load its model; raises CommandFailed."""
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP
        self._process = subprocess.Popen(
            [sys.executable, "-m", "imageserver.cli.own_server"], cwd=WORKING_DIR, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if self._bar.is_shown else None,
            env=environment(),
            # Ctrl+C is for this process, which cancels and then ends the server.
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )  # fmt: skip
        try:
            if self._process.stderr is not None:
                self._log = threading.Thread(target=self._bar.write_lines, args=[self._process.stderr], daemon=True)
                self._log.start()
            key = secrets.token_urlsafe(32)
            _stream(self._process.stdin).write(f"{key}\n")
            port = _stream(self._process.stdout).readline().strip()
            if not port:
                raise CommandFailed("The server for this command has not started; the lines above say why.")
        except BaseException:
            self.__exit__()
            raise
        return ServerConnection(f"http://127.0.0.1:{port}", key)

    def __exit__(self, *_: object) -> None:
        _stream(self._process.stdin).close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._log is not None:
            self._log.join(1.0)
        _stream(self._process.stdout).close()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
