"""Many clients that send one request after the other while something happens to the server."""

import threading
import time
from collections import Counter

import requests

from tests.support.server import Server


class SteadyClients:
    """A thread for each client, from entering the block to leaving it; what they got is counted."""

    def __init__(self, server: Server, count: int = 50) -> None:
        self._server = server
        self._stop = threading.Event()
        self._answers: list[Counter[str]] = [Counter() for _ in range(count)]
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(count)]

    def __enter__(self) -> "SteadyClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answers(self) -> Counter[str]:
        """What all clients got so far: `image`, or what was wrong instead."""
        return sum(self._answers, Counter())

    def wait_for_a_round(self, timeout: float = 40.0) -> None:
        """Wait until every client has got two more answers, so one to a request that it has sent since."""
        before = [answers.total() for answers in self._answers]
        deadline = time.monotonic() + timeout
        while any(now.total() < then + 2 for now, then in zip(self._answers, before, strict=True)):
            assert time.monotonic() < deadline, f"A client waits; all together got {self.answers}."
            time.sleep(0.05)

    def _send(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                answer = self._server.generate(f"[step=0.002] {number}", size="64x64", num_inference_steps=1)
                found = "image" if answer.status_code == 200 and answer.content[:4] == b"\x89PNG" else answer.text
            except requests.RequestException as error:
                found = repr(error)
            self._answers[number][found] += 1
