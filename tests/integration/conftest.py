"""Real servers for the integration tests, on free loopback ports; each is stopped by its process id."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server

Starter = Callable[..., Server]


def _starter(tmp_path_factory: pytest.TempPathFactory, running: list[Server]) -> Starter:
    def start(*, ready: bool = True, **options: str | list[str] | Path | None) -> Server:
        server = Server(tmp_path_factory.mktemp("server"), **options)  # type: ignore[arg-type]
        running.append(server)
        server.wait_until_ready() if ready else server.wait_until_alive()
        return server

    return start


def _stop(servers: list[Server]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(Server.stop, servers))


@pytest.fixture(scope="session")
def all_servers() -> list[Server]:
    """Every server that was started, shared or not."""
    return []


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, all_servers: list[Server]) -> Iterator[Starter]:
    """Start servers that live as long as the session: `servers(engine="fake", MAX_QUEUE="4")`.

    They are ready, unless `ready=False` asks for one that only answers.
    """
    running: list[Server] = []

    def start(**options: Any) -> Server:
        server = _starter(tmp_path_factory, running)(**options)
        all_servers.append(server)
        return server

    yield start
    _stop(running)


@pytest.fixture
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start servers that one test may break; afterwards no process of theirs is left, and no traceback in a log."""
    running: list[Server] = []
    yield _starter(tmp_path_factory, running)
    _stop(running)
    for server in running:
        assert "Traceback" not in server.log, server.log
        assert not server.leftovers(), server.log


@pytest.fixture(autouse=True)
def _no_traceback_in_shared_logs(all_servers: list[Server]) -> Iterator[None]:
    """Fail the test that made a shared server write a traceback."""
    yield
    for server in all_servers:
        news = server.read_new_log()
        assert "Traceback" not in news, news


@pytest.fixture(scope="session")
def demo_server(servers: Starter) -> Server:
    """A server with the embedded demo model, shared by all tests that do not break it."""
    return servers(engine="real")


@pytest.fixture(scope="session")
def fake_server(servers: Starter) -> Server:
    """A server whose engine only pretends, shared by all tests that do not break it."""
    server = servers()
    # What was generated once is not refused after the fake device has been full.
    assert server.generate("large", size="2048x2048", num_inference_steps=1).status_code == 200
    return server


@pytest.fixture
def quiet_server(fake_server: Server) -> Server:
    """The shared server with the fake engine, with nothing under way: for tests that count on that and break nothing.

    It has learnt what images take, so it may refuse a client who tells how long it waits.
    """
    fake_server.wait_until_idle()
    return fake_server


@pytest.fixture
def own_server(own_servers: Starter) -> Server:
    """A server with the fake engine that one test may break."""
    return own_servers()
