"""Clients who ask for a number of images in every dialect, and look at, fetch, watch and delete what they got."""

import collections
import contextlib
import dataclasses
import itertools
import json
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import requests
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from tests.support.dialects import DIALECTS, TASKS
from tests.support.server import Server

# A full queue, a model that was just unloaded, a worker that ends: an answer that a client can act on.
REFUSALS = frozenset({409, 429, 503})
PAGES = (
    "/", "/client.html", "/metrics", "/health", "/info", "/v1/jobs", "/v1/usage", "/v1/history", "/v1/gallery",
    "/v1/models", "/v1/loras", "/sdapi/v1/progress", "/sdapi/v1/options", "/openapi.json", "/absent",
)  # fmt: skip
SMALL = {"size": "64x64", "num_inference_steps": 2}
# As many requests as can be repeated from the cache.
REPEATED = 40


class SoakClients:
    """`answers` counts what clients got, `faults` lists what no client may get."""

    def __init__(self, server: Server, key: str, *, models: tuple[str, ...], lora: str, webhook: str = "") -> None:
        self._server, self.models, self._lora, self._webhook = server, models, lora, webhook
        self._headers = {"Authorization": f"Bearer {key}"}
        self._dialects = [
            dataclasses.replace(each, path=each.path.replace("/fake", f"/{models[0]}")) for each in DIALECTS
        ]
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.done = 0
        self.answers: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def run(self, generations: int, clients: int, events: Sequence[tuple[int, Callable[[], None]]]) -> None:
        """Send so many generations; beside them happens each event when its number of them is done."""
        with ThreadPoolExecutor(clients + 1) as pool:
            beside = pool.submit(self._happen, events)
            list(pool.map(lambda number: self._be_a_client(number, generations), range(clients)))
            self._ended.set()
            beside.result()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._server.ask(method, path, headers=self._headers, timeout=60, **options)

    def _happen(self, events: Sequence[tuple[int, Callable[[], None]]]) -> None:
        for number, event in sorted(events, key=lambda each: each[0]):
            while self.done < number and not self._ended.wait(0.1):
                pass
            event()

    def _be_a_client(self, number: int, generations: int) -> None:
        chance = Random(number)
        kinds = {
            self._dialect: 40, self._native: 8, self._repeated: 8, self._saved: 10, self._task: 12, self._named: 6,
            self._with_lora: 6, self._socket: 4, self._mcp: 3, self._retried: 4, self._hang_up: 3, self._malformed: 2,
        }  # fmt: skip
        while (wanted := next(self._numbers)) < generations and not self._ended.is_set():
            kind = chance.choices([*kinds], [*kinds.values()])[0]
            try:
                outcome = kind(chance, wanted)
                self.ask("GET", chance.choice(PAGES))
            except Exception as error:
                self._fault(f"{kind.__name__}: {error!r}")
                outcome = "wrong"
            with self._lock:
                self.done += 1
                self.answers[f"{kind.__name__} {outcome}"] += 1

    def _checked(self, answer: requests.Response, refusals: frozenset[int] = REFUSALS) -> str:
        if answer.status_code != 200 and answer.status_code not in refusals:
            self._fault(f"{answer.request.path_url} {answer.status_code}: {answer.text[:300]}")
        return str(answer.status_code)

    def _dialect(self, chance: Random, number: int) -> str:
        dialect = chance.choice(self._dialects)
        return self._checked(dialect.ask(self._server, f"soak {number}", 2, self._headers))

    def _native(self, chance: Random, number: int) -> str:
        format_, count = chance.choice(("png", "jpeg", "webp")), chance.choice((1, 1, 3))
        body = SMALL | {"prompt": f"soak {number}", "output_format": format_, "n": count}
        return self._checked(self.ask("POST", "/generate", json=body))

    def _repeated(self, chance: Random, number: int) -> str:
        """Ask for what the cache has, or others ask for at this moment, or by an idempotency key."""
        body = SMALL | {"prompt": f"again {number % REPEATED}", "seed": number % REPEATED}
        headers = {"Idempotency-Key": str(number - number % 2)} if chance.random() < 0.5 else {}
        body |= {"prompt": "with a key", "seed": 7} if headers else {}
        answer = self._server.ask("POST", "/generate", json=body, headers=self._headers | headers, timeout=60)
        return self._checked(answer)

    def _retried(self, chance: Random, number: int) -> str:
        """Be OpenAI's SDK, which counts its retries and leaves before."""
        retry = {"X-Stainless-Retry-Count": str(number % 2), "X-Stainless-Read-Timeout": "60"}
        body = SMALL | {"prompt": f"retried {number - number % 2}", "cache": False}
        headers = self._headers | retry
        return self._checked(self._server.ask("POST", "/v1/images/generations", json=body, headers=headers, timeout=60))

    def _saved(self, chance: Random, number: int) -> str:
        """Save an image, fetch it by its signed address, and sometimes delete it from the gallery."""
        body = SMALL | {"prompt": f"saved {number}", "save_to_file": True, "cache": False}
        answer = self.ask("POST", "/generate", json=body)
        if answer.status_code == 200:
            [address] = answer.json()["urls"]
            name, _, signature = address.split("/")[-1].partition("?")
            # The limits of the folder are so small that it may be gone.
            for path in (f"/images/{name}?{signature}", f"/v1/gallery/{name}/thumbnail?{signature}"):
                self._checked(self._server.get(path, timeout=60), REFUSALS | {404, 410})
            if chance.random() < 0.3:
                self._checked(self.ask("DELETE", f"/v1/gallery/{name}"), REFUSALS | {404})
        return self._checked(answer)

    def _task(self, chance: Random, number: int) -> str:
        if chance.random() < 0.5:
            body = SMALL | {"prompt": f"own {number}"}
            answer = self.ask("PUT", f"/v1/tasks/{uuid.uuid4()}", json=body)
            return self._checked(answer, REFUSALS | {201, 202})
        hooked = {"webhook_url": self._webhook} if self._webhook else {}
        body = TASKS.json(f"task {number}", 2) | hooked
        return self._checked(self.ask("POST", "/submit", json=body))

    def _named(self, chance: Random, number: int) -> str:
        body = SMALL | {"prompt": f"named {number}", "model": chance.choice(self.models), "cache": False}
        return self._checked(self.ask("POST", "/generate", json=body))

    def _with_lora(self, chance: Random, number: int) -> str:
        scale = round(chance.random(), 2)
        body = SMALL | {"prompt": f"night {number}", "loras": [{"name": self._lora, "scale": scale}], "cache": False}
        return self._checked(self.ask("POST", "/generate", json=body))

    def _socket(self, chance: Random, number: int) -> str:
        address, ended = f"ws://127.0.0.1:{self._server.port}/ws/generate", ""
        with (
            contextlib.suppress(ConnectionClosedOK),
            connect(address, max_size=None, additional_headers=self._headers) as connection,
        ):
            for index in range(2):
                connection.send(json.dumps(SMALL | {"prompt": f"socket {number} {index}", "previews": 1}))
                while (frame := json.loads(connection.recv(timeout=60)))["type"] not in ("result", "error"):
                    pass
                ended = frame.get("code") or frame["type"]
        return str(ended)

    def _mcp(self, chance: Random, number: int) -> str:
        arguments = {"prompt": f"tool {number}", "size": "64x64"}
        body = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "generate_image", "arguments": arguments},
        }  # fmt: skip
        headers = self._headers | {"Accept": "application/json, text/event-stream"}
        return self._checked(self._server.ask("POST", "/mcp", json=body, headers=headers, timeout=60))

    def _hang_up(self, chance: Random, number: int) -> str:
        """Leave a response that has begun, and events of somebody's job."""
        body = SMALL | {"prompt": f"gone {number}", "stream": True, "partial_images": 1}
        for method, path, sent in (("POST", "/v1/images/generations", body), ("GET", "/v1/jobs/1/events", None)):
            with self.ask(method, path, json=sent, stream=True) as answer:
                next(answer.iter_content(100), b"")
        return "gone"

    def _malformed(self, chance: Random, number: int) -> str:
        body = (b"{", b'{"prompt": 7}', b'{"prompt": "x", "nonsense": 1}', b"\xff\xfe\x00")[number % 4]
        return self._checked(self.ask("POST", "/generate", data=body), REFUSALS | {400, 422})

    def _fault(self, sentence: str) -> None:
        with self._lock:
            self.faults.append(sentence)
            if len(self.faults) > 20:
                self._ended.set()
