"""The engine process on the far machine: started with exec, spoken to over a socket of its own, its output read."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
from collections import deque
from collections.abc import Callable

from imageserver.cluster.host.seat_folder import DeviceClaim
from imageserver.cluster.parcels import Item
from imageserver.cluster.travelling_config import read_travelling_config
from imageserver.cluster.whole_frames import READ_LIMIT_BYTES, read_hello, read_whole_frame
from imageserver.protocol import child_process
from imageserver.protocol.channel import Address

LAST_LINES = 20
MAX_LINE_BYTES = 8192
# How long the end waits for output that is still in the pipe; children of the engine may hold it open.
OUTPUT_SECONDS = 1.0
LINE_END = re.compile(rb"[\r\n]+")


class FarEngine:
    """One engine; what it sends, writes and how it ends is put out as items."""

    def __init__(self, claim: DeviceClaim, put: Callable[[Item], None]) -> None:
        self._claim = claim
        self._put = put
        self._key = secrets.token_hex(32)
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: list[bytes] = []  # calls that came before the engine had connected
        self._last_lines: deque[bytes] = deque(maxlen=LAST_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, content: bytes) -> None:
        """Start the process; raises OSError, and ValueError for settings that are not valid here."""
        socket = self._claim.socket
        self._server = await asyncio.start_unix_server(self._listen, socket, limit=READ_LIMIT_BYTES)
        config = read_travelling_config(content, self._claim.device, Address(str(socket), None, self._key))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", config.settings.engine_module, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=_environment(),
            pass_fds=[self._claim.descriptor],
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(config.write())
        self._process.stdin.write_eof()
        self._tasks.add(asyncio.create_task(self._follow(self._process)))

    def send(self, frame: bytes) -> None:
        """Pass a frame of the dispatcher on."""
        if self._writer is None:
            self._waiting.append(frame)
        else:
            self._writer.write(frame)

    def kill(self) -> None:
        if self._process is not None:
            child_process.kill(self._process)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            if secrets.compare_digest((await read_hello(reader)).key.encode(), self._key.encode()):
                self._writer = writer
                writer.writelines(self._waiting)
                self._waiting.clear()
                while True:
                    self._put(Item("frame", await read_whole_frame(reader)))
        writer.close()

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Put out what the process writes, and at last how it ended, with its last lines."""
        assert process.stdout is not None
        output = asyncio.create_task(self._read_output(process.stdout))
        status = await process.wait()
        await asyncio.wait([output], timeout=OUTPUT_SECONDS)
        lines = [line.decode(errors="replace") for line in self._last_lines]
        self._put(Item("end", json.dumps({"status": status, "lines": lines}).encode()))
        if self._server is not None:
            self._server.close()

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(MAX_LINE_BYTES):
            *lines, rest = LINE_END.split(rest + chunk)
            if len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._put_line(line)
        self._put_line(rest)

    def _put_line(self, line: bytes) -> None:
        if line.strip():
            self._last_lines.append(line)
            self._put(Item("log", line))


def _environment() -> dict[str, str]:
    """Return the engine's environment: without what Ray has set for its worker, and without the cluster's token.

    Ray sets OMP_NUM_THREADS to 1 for an actor without CPUs, which would slow an engine on a CPU.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in ("OMP_NUM_THREADS", "CLUSTER_TOKEN") and not name.startswith("RAY_")
    }
