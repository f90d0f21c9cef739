"""Servers that are started one by one and stopped together; none of them may write a traceback."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.batch_caps import BatchCaps
from tests.support.preloaded.settings import preloaded
from tests.support.server import Server


class ServerGroup:
    """The servers of one test, of one file, or of all tests of a process."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._caps = BatchCaps(factory.getbasetemp())
        self._running: list[Server] = []

    def start(self, *, ready: bool = True, **options: Any) -> Server:
        """Start a server; it is ready, unless `ready=False` asks for one that only answers."""
        if options.get("engine") == "preloaded":
            options |= {"engine": "real"} | preloaded()
        folder = self._factory.mktemp("server")
        self._caps.install(folder / "state")
        server = Server(folder, **options)
        self._running.append(server)
        server.wait_until_ready() if ready else server.wait_until_alive()
        self._caps.collect(folder / "state")
        return server

    def check_new_logs(self) -> None:
        """Fail if a server wrote a traceback since the last call."""
        for server in self._running:
            news = server.read_new_log()
            assert "Traceback" not in news, news

    def stop(self) -> None:
        """Stop all at the same time."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.stop, self._running))
        self.check_new_logs()

    def check_leftovers(self) -> None:
        """Fail if a process of a server outlived it."""
        for server in self._running:
            assert not server.leftovers(), server.log
