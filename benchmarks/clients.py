"""Clients that send requests to a server, with the times of each request and of its complete answer."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.traffic import ImageRequest

TIMEOUT = 600.0


@dataclass(frozen=True)
class TimedAnswer:
    """One answered request; times are monotonic seconds."""

    image_request: ImageRequest
    due: float
    received: float
    status: int
    size: int

    @property
    def latency(self) -> float:
        """Seconds from the moment that the request was due."""
        return self.received - self.due

    @property
    def is_image(self) -> bool:
        """Whether a PNG came back that was generated for this image_request."""
        return self.status == 200 and self.size > 0


class LoadClient:
    """One connection that stays open, like an SDK's or a browser's."""

    def __init__(self, port: int, path: str = "/generate") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._path = path

    def ask(self, image_request: ImageRequest, due: float | None = None) -> TimedAnswer:
        """Return the answer to a request; `due` is when it should have been sent, now without it."""
        asked = time.monotonic() if due is None else due
        try:
            body = json.dumps(image_request.body()).encode()
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return TimedAnswer(image_request, asked, time.monotonic(), 0, 0)
        # An image from a cache, or shared with an equal request, measures nothing.
        generated = response.headers.get("X-Cache", "miss") == "miss"
        size = len(content) if generated and content.startswith(b"\x89PNG") else 0
        return TimedAnswer(image_request, asked, time.monotonic(), response.status, size)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def hang_up(self) -> None:
        """Disconnect in the middle of an answer, like a killed client; called by another thread."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)


def closed_loop(port: int, clients: int, image_requests: Iterator[ImageRequest], seconds: float) -> list[TimedAnswer]:
    """Let `clients` request one image after the other for so many seconds, and then wait for the last answers."""
    deadline, lock = time.monotonic() + seconds, threading.Lock()
    answers: list[TimedAnswer] = []

    def work() -> None:
        client = LoadClient(port)
        while time.monotonic() < deadline:
            with lock:
                image_request = next(image_requests)
            answers.append(client.ask(image_request))
        client.close()

    run_all([work] * clients)
    return answers


def open_loop(port: int, arrivals: Sequence[float], image_requests: Sequence[ImageRequest]) -> list[TimedAnswer]:
    """Send requests at the given times, whether earlier image_requests have been answered or not."""
    answers: list[TimedAnswer] = []
    began = time.monotonic()
    with ThreadPoolExecutor(len(arrivals)) as pool:
        pending: list[Future[TimedAnswer]] = []
        for arrival, image_request in zip(arrivals, image_requests, strict=True):
            time.sleep(max(0.0, began + arrival - time.monotonic()))
            pending.append(pool.submit(LoadClient(port).ask, image_request, began + arrival))
        answers.extend(future.result() for future in pending)
    return answers


def run_all(works: Sequence[Callable[[], None]]) -> None:
    """Run functions at the same time and wait for all; raises the first error."""
    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result()


def throughput(answers: Sequence[TimedAnswer]) -> float:
    """Return images per second from the first request to the last answer."""
    images = [answer for answer in answers if answer.is_image]
    if not images:
        return 0.0
    return len(images) / (max(answer.received for answer in answers) - min(answer.due for answer in answers))
