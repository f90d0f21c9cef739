"""Clients that ask a server for images, and note when they sent and when they had the whole answer."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.traffic import GenerationRequest

TIMEOUT = 600.0


@dataclass(frozen=True)
class Answer:
    """One answered order; times are monotonic seconds."""

    order: GenerationRequest
    due: float
    received: float
    status: int
    size: int

    @property
    def latency(self) -> float:
        """Seconds from the moment the client wanted to ask."""
        return self.received - self.due

    @property
    def is_image(self) -> bool:
        """Whether a PNG came back that was generated for this order."""
        return self.status == 200 and self.size > 0


class Client:
    """One connection that is kept open, as an SDK or a browser does."""

    def __init__(self, port: int, path: str = "/generate") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._path = path

    def ask(self, order: GenerationRequest, due: float | None = None) -> Answer:
        """Return the answer to an order; `due` is when it should have been sent, now without it."""
        asked = time.monotonic() if due is None else due
        try:
            body = json.dumps(order.body()).encode()
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(order, asked, time.monotonic(), 0, 0)
        # An image from a cache, or shared with an equal request, would be no measurement.
        generated = response.headers.get("X-Cache", "miss") == "miss"
        size = len(content) if generated and content.startswith(b"\x89PNG") else 0
        return Answer(order, asked, time.monotonic(), response.status, size)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def hang_up(self) -> None:
        """Leave in the middle of an answer, as a client that is killed does; called by another thread."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)


def closed_loop(port: int, clients: int, orders: Iterator[GenerationRequest], seconds: float) -> list[Answer]:
    """Let `clients` ask one image after the other; whoever still waits at the end waits for its answer."""
    deadline, lock = time.monotonic() + seconds, threading.Lock()
    answers: list[Answer] = []

    def work() -> None:
        client = Client(port)
        while time.monotonic() < deadline:
            with lock:
                order = next(orders)
            answers.append(client.ask(order))
        client.close()

    run_all([work] * clients)
    return answers


def open_loop(port: int, arrivals: Sequence[float], orders: Sequence[GenerationRequest]) -> list[Answer]:
    """Ask at the given moments, whether earlier orders have been answered or not."""
    answers: list[Answer] = []
    began = time.monotonic()
    with ThreadPoolExecutor(len(arrivals)) as pool:
        pending: list[Future[Answer]] = []
        for arrival, order in zip(arrivals, orders, strict=True):
            time.sleep(max(0.0, began + arrival - time.monotonic()))
            pending.append(pool.submit(Client(port).ask, order, began + arrival))
        answers.extend(future.result() for future in pending)
    return answers


def run_all(works: Sequence[Callable[[], None]]) -> None:
    """Run functions at the same time and wait for all; the first error comes out."""
    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result()


def throughput(answers: Sequence[Answer]) -> float:
    """Return images per second from the first question to the last answer."""
    images = [answer for answer in answers if answer.is_image]
    if not images:
        return 0.0
    return len(images) / (max(answer.received for answer in answers) - min(answer.due for answer in answers))
