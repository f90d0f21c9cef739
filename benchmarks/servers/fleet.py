"""The servers of one measurement: started together, or one at a time where a device holds only one model."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.clients import LoadClient
from benchmarks.conditions import Conditions
from benchmarks.servers.kind import Kind
from benchmarks.servers.process import ServerProcess
from benchmarks.traffic import RequestSource

WARM_UPS = 2


class Fleet:
    """Servers by kind; idle ones use no processor, so servers that run together can be measured in turns."""

    def __init__(self, conditions: Conditions, folder: Path, *, one_at_a_time: bool = False) -> None:
        self._conditions = conditions
        self._folder = folder
        self.one_at_a_time = one_at_a_time
        self._running: dict[str, ServerProcess] = {}
        self._started = 0

    def start(self, kinds: Sequence[Kind]) -> None:
        """Start servers ahead of their use; does nothing where only one at a time fits."""
        if self.one_at_a_time:
            return
        for kind in kinds:
            if kind.name not in self._running:
                self._running[kind.name] = self._launch(kind)
        for kind in kinds:
            self._warm_up(self._running[kind.name])

    @contextlib.contextmanager
    def serving(self, kind: Kind) -> Iterator[ServerProcess]:
        """Yield a server of this kind, warmed up and idle."""
        if not self.one_at_a_time:
            self.start([kind])
            yield self._running[kind.name]
            return
        self._running[kind.name] = server = self._launch(kind)
        try:
            self._warm_up(server)
            yield server
        finally:
            self._running.pop(kind.name).stop()

    def stop(self) -> None:
        """Stop every running server."""
        while self._running:
            self._running.popitem()[1].stop()

    def _launch(self, kind: Kind) -> ServerProcess:
        self._started += 1
        folder = self._folder / f"{self._started}-{kind.letter}"
        folder.mkdir(parents=True)
        return ServerProcess(kind, dataclasses.replace(self._conditions, trace=folder / "trace.jsonl"), folder)

    def _warm_up(self, server: ServerProcess) -> None:
        if server.is_warm:
            return
        server.wait_until_ready()
        client, image_requests = LoadClient(server.port), RequestSource(seed=900 + self._started)
        for _ in range(WARM_UPS):
            answer = client.ask(image_requests.next((2,)))
            if not answer.is_image:
                raise RuntimeError(f"The server {server.kind.name} answered {answer.status} instead of an image.")
        client.close()
        server.is_warm = True
