"""Real servers for the integration tests, on free loopback ports; each is stopped by its process id."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.server import Server
from tests.support.server_group import ServerGroup

Starter = Callable[..., Server]
# What tests leave behind in servers that last: nobody waits for it at the end.
LITTLE_GRACE = {"GRACEFUL_TIMEOUT": "2"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin: as the last ones they would run while the other processes have nothing left."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def lasting_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerGroup]:
    """The servers that the tests of all files share."""
    group = ServerGroup(tmp_path_factory)
    yield group
    group.stop()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerGroup]:
    """The servers that the tests of one file share: idle ones would take memory from those of the next."""
    group = ServerGroup(tmp_path_factory)
    yield group
    group.stop()


@pytest.fixture(scope="module")
def servers(group: ServerGroup) -> Starter:
    """Start servers that live as long as the tests of the file: `servers(engine="fake", MAX_QUEUE="4")`."""
    return group.start


@pytest.fixture
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start servers that one test may break; afterwards no process of theirs is left, and no traceback in a log."""
    group = ServerGroup(tmp_path_factory)
    yield group.start
    group.stop()
    group.check_leftovers()


@pytest.fixture(autouse=True)
def _no_traceback_in_shared_logs(lasting_group: ServerGroup, group: ServerGroup) -> Iterator[None]:
    """Fail the test that made a shared server write a traceback."""
    yield
    lasting_group.check_new_logs()
    group.check_new_logs()


@pytest.fixture(scope="session")
def demo_server(lasting_group: ServerGroup) -> Server:
    """A server with the embedded demo model, shared by all tests that do not break it."""
    return lasting_group.start(engine="real", **LITTLE_GRACE)


@pytest.fixture(scope="session")
def fake_server(lasting_group: ServerGroup) -> Server:
    """A server whose engine only pretends, shared by all tests that do not break it."""
    server = lasting_group.start(**LITTLE_GRACE)
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
