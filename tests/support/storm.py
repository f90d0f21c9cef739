"""Many clients who ask in several dialects, hang up and send rubbish while processes of the server are killed."""

import collections
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import requests

from tests.support.images import pixels
from tests.support.server import Server

SIDE = 64
# A full queue, a dead or a loading engine, a deadline that cannot be kept: an answer that a client can act on.
REFUSALS = {429, 503, 504}
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class StormPlan:
    """How many clients for how many seconds, and after how many an engine and a worker are killed each time."""

    clients: int
    seconds: float
    engine_every: float
    worker_every: float


class Storm:
    """One storm over one server; `answers` counts what clients got, `faults` lists what no client may get."""

    def __init__(self, server: Server, plan: StormPlan) -> None:
        self._server, self._plan = server, plan
        self._end = 0.0
        self._lock = threading.Lock()
        self._killed_at: list[float] = []
        self.killed_workers = 0
        self.answers: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.tasks: list[str] = []
        # Of every process: the images and accepted tasks so far, and its memory in MiB.
        self.memory: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)

    def run(self) -> None:
        self._end = time.monotonic() + self._plan.seconds
        killers = [
            threading.Thread(target=self._kill_every, args=(self._plan.engine_every, self._engine)),
            threading.Thread(target=self._kill_every, args=(self._plan.worker_every, self._worker)),
            threading.Thread(target=self._watch_memory),
        ]
        for each in killers:
            each.start()
        with ThreadPoolExecutor(self._plan.clients) as pool:
            list(pool.map(self._be_a_client, range(self._plan.clients)))
        for each in killers:
            each.join()

    def _be_a_client(self, number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < self._end:
            kind = chance.choices(
                [self._native, self._openai, self._automatic1111, self._task, self._hang_up, self._malformed],
                [40, 20, 20, 14, 5, 1],
            )[0]
            began = time.monotonic()
            try:
                outcome = kind(chance.randrange(2**31))
            except (requests.RequestException, OSError) as error:
                outcome = self._broken_off(began, error)
            except Exception as error:
                self._fault(f"{kind.__name__}: {error!r}")
                outcome = "wrong"
            with self._lock:
                self.answers[outcome] += 1
            time.sleep(PAUSE_SECONDS)

    def _broken_off(self, began: float, error: Exception) -> str:
        """Only a worker that is killed may break a connection off; nothing excuses an answer that never comes."""
        if isinstance(error, requests.Timeout):
            self._fault(f"no answer: {error!r}")
        elif not any(began - 3 < killed < time.monotonic() for killed in self._killed_at):
            self._fault(f"broken off without a kill: {error!r}")
        return "broken off"

    def _native(self, seed: int) -> str:
        body = {"prompt": "[step=0.01] a storm", "seed": seed, "size": f"{SIDE}x{SIDE}", "num_inference_steps": 2}
        answer = self._server.post(body | {"add_overlay": False, "cache": False})
        return self._checked(answer, lambda: answer, seed)

    def _openai(self, seed: int) -> str:
        body = {"prompt": "a storm", "seed": seed, "size": f"{SIDE}x{SIDE}", "num_inference_steps": 2, "cache": False}
        answer = self._server.ask("POST", "/v1/images/generations", json=body, timeout=60)
        return self._checked(answer, lambda: answer.json()["data"][0]["b64_json"], seed)

    def _automatic1111(self, seed: int) -> str:
        body = {"prompt": "a storm", "seed": seed, "width": SIDE, "height": SIDE, "steps": 2}
        answer = self._server.ask("POST", "/sdapi/v1/txt2img", json=body, timeout=60)
        return self._checked(answer, lambda: answer.json()["images"][0], seed)

    def _checked(self, answer: requests.Response, image: Callable[[], Any], seed: int) -> str:
        """An image has its own seed's colour, as the fake engine makes it, and no neighbour's."""
        if answer.status_code == 200:
            shown = pixels(image())
            if shown.shape != (SIDE, SIDE, 3) or set(shown.ravel()) != {seed % 256}:
                self._fault(f"the image of seed {seed} is another one")
            return "image"
        if answer.status_code not in REFUSALS:
            self._fault(f"{answer.status_code}: {answer.text[:300]}")
        return str(answer.status_code)

    def _task(self, seed: int) -> str:
        body = {"prompt": "a task", "seed": seed, "resolution": f"{SIDE}x{SIDE}", "num_inference_steps": 2}
        answer = self._server.ask("POST", "/submit", json=body, timeout=60)
        if answer.status_code == 200:
            with self._lock:
                self.tasks.append(answer.json()["task_id"])
            return "task"
        if answer.status_code not in REFUSALS:
            self._fault(f"{answer.status_code}: {answer.text[:300]}")
        return str(answer.status_code)

    def _hang_up(self, seed: int) -> str:
        with self._server.raw_generation(b'{"prompt": "[step=0.1] gone", "num_inference_steps": 5, "size": "64x64"}'):
            time.sleep(seed % 10 / 100)
        return "hung up"

    def _malformed(self, seed: int) -> str:
        body = (b"{", b'{"prompt": 7}', b'{"prompt": "x", "nonsense": 1}', b"\xff\xfe\x00")[seed % 4]
        answer = self._server.post(body)
        if answer.status_code not in REFUSALS | {400, 422}:
            self._fault(f"rubbish is answered with {answer.status_code}")
        return "malformed"

    def _kill_every(self, seconds: float, find: Callable[[], Any]) -> None:
        following = time.monotonic() + seconds
        while following < self._end:
            time.sleep(max(0.0, following - time.monotonic()))
            following += seconds
            if process := find():
                self._killed_at.append(time.monotonic())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _engine(self) -> int | None:
        return next((each.pid for each in self._server.processes() if "fake_engine" in " ".join(each.cmdline())), None)

    def _worker(self) -> int | None:
        self.killed_workers += 1
        return next(iter(self._server.worker_pids()), None)

    def _watch_memory(self) -> None:
        while time.monotonic() < self._end:
            for each in self._server.processes():
                with contextlib.suppress(psutil.Error):
                    name = f"{each.pid} {' '.join(each.cmdline())[-40:]}"
                    jobs = self.answers["image"] + self.answers["task"]
                    self.memory[name].append((jobs, each.memory_info().rss / 2**20))
            time.sleep(1)

    def _fault(self, sentence: str) -> None:
        with self._lock:
            self.faults.append(sentence)
