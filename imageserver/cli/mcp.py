"""Speak the Model Context Protocol over stdin and stdout for a running server: each message is passed on to its `/mcp`.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

import contextlib
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

import requests

from imageserver.settings.source import load_settings

# As many calls may wait for the server at a time; assistants make one or two.
MAX_CALLS = 16
# A call may wait for its model as long as REQUEST_TIMEOUT before its stream, and the heartbeats, begin.
CONNECT_SECONDS, READ_SECONDS = 10.0, 7200.0
SERVER_ERROR = -32000
CANCELLED = "notifications/cancelled"


class Relay:
    """Passes messages on to a server at `url`, and its answers back to `output`, one on each line."""

    def __init__(self, url: str, key: str, output: TextIO) -> None:
        self._url = url.rstrip("/")
        # A call is answered in a stream: its heartbeats keep the connection open, and its head names its job.
        self._headers = {"Accept": "text/event-stream", "Connection": "close"}
        self._headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self._output = output
        self._lock = threading.Lock()
        # The calls under way: their jobs, empty until the server has named them.
        self._jobs: dict[str | int, str] = {}
        self._cancelled: set[str | int] = set()

    def follow(self, lines: Iterable[str]) -> None:
        """Pass on every line, and return when there are no more and all are answered."""
        # Calls may take all of their threads; a cancellation waits for none of them.
        with ThreadPoolExecutor(1) as cancelling, ThreadPoolExecutor(MAX_CALLS) as calling:
            for line in filter(str.strip, lines):
                message = _message_in(line)
                if message is None:
                    self._write_error(None, "A line must be one JSON object.")
                elif message.get("method") == CANCELLED:
                    cancelling.submit(self._cancel, message.get("params"))
                else:
                    number = _request_id(message)
                    # Here, so that no cancellation overtakes the call that it names.
                    if number is not None:
                        self._jobs[number] = ""
                    calling.submit(self._pass_on, message, number)

    def _pass_on(self, message: dict[str, Any], number: str | int | None) -> None:
        """Pass one message on, and write what comes back; a request is answered whatever happens."""
        answered = number is None
        try:
            with requests.post(
                f"{self._url}/mcp", json=message, headers=self._headers, stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            ) as response:  # fmt: skip
                if number is not None and "X-Request-Id" in response.headers:
                    self._jobs[number] = response.headers["X-Request-Id"]
                    self._cancel_if_wanted(number)
                for answer in _answers(response):
                    answered |= "method" not in answer
                    # An error that prevented any answer does not know which request it is for.
                    self._write(answer | {"id": number} if "error" in answer else answer)
            if not answered:
                raise ValueError("it ended its answer too early")
        except (requests.RequestException, ValueError) as error:
            if not answered:
                self._write_error(number, f"The image server at {self._url} cannot be used: {_reason(error)}.")
        finally:
            if number is not None:
                self._jobs.pop(number, None)
                self._cancelled.discard(number)

    def _cancel(self, params: Any) -> None:
        number = params.get("requestId") if isinstance(params, dict) else None
        if isinstance(number, str | int) and number in self._jobs:
            self._cancelled.add(number)
            self._cancel_if_wanted(number)

    def _cancel_if_wanted(self, number: str | int) -> None:
        """Cancel the job of a call; one that the server has not named yet is cancelled when it has."""
        job = self._jobs.get(number)
        if job and number in self._cancelled:
            with contextlib.suppress(requests.RequestException):
                requests.delete(f"{self._url}/v1/jobs/{job}", headers=self._headers, timeout=CONNECT_SECONDS)

    def _write_error(self, number: Any, sentence: str) -> None:
        self._write({"jsonrpc": "2.0", "id": number, "error": {"code": SERVER_ERROR, "message": sentence}})

    def _write(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._output.write(json.dumps(message) + "\n")
            self._output.flush()


def relay(url: str | None, key: str) -> int:
    """Serve one client on stdin and stdout, by default for the server of these settings; return the exit status."""
    address = url or f"http://127.0.0.1:{load_settings().port}"
    # Not in the system's own encoding, which differs on Windows.
    with contextlib.suppress(KeyboardInterrupt), open(sys.stdin.fileno(), encoding="utf-8", closefd=False) as lines:
        Relay(address, key, sys.stdout).follow(lines)
    return 0


def _message_in(line: str) -> dict[str, Any] | None:
    """Return the message in a line, None if there is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _request_id(message: dict[str, Any]) -> str | int | None:
    """Return what a request's answer names it by, None for a message that is not answered."""
    number = message.get("id")
    return number if "method" in message and isinstance(number, str | int) else None


def _answers(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield the messages of a response, which is JSON, a stream of it, or empty; raises ValueError."""
    if response.headers.get("Content-Type", "").startswith("text/event-stream"):
        for line in response.iter_lines(chunk_size=2**16):
            if line.startswith(b"data: "):
                yield _as_message(json.loads(line.removeprefix(b"data: ")))
    elif response.status_code != 202:
        yield _as_message(response.json())


def _as_message(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("it sent something that is not a message")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "nothing answers there"
    if isinstance(error, requests.RequestException | json.JSONDecodeError):
        return type(error).__name__
    return str(error)
