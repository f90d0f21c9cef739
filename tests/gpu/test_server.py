"""The real server on a card: what it tells of it, and an engine that is killed there."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.server import SMALL_IMAGES, Server

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def server(device: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the demo model; MODEL=auto would take what the card can hold."""
    server = Server(tmp_path_factory.mktemp("server"), engine="real", DEVICE=device, **SMALL_IMAGES)
    server.wait_until_ready()
    yield server
    server.stop()


def small(server: Server, seed: int) -> int:
    return server.generate(size="64x64", num_inference_steps=2, seed=seed).status_code


def test_it_names_the_card(server: Server, device: str) -> None:
    info, health = server.get("/info").json(), server.health()
    assert info["device"] == health["device"] == device
    assert info["gpu"] == health["gpu"] != ""
    assert (info["cuda_version"] == "N/A") == (device == "cpu")
    assert info["gpu_memory_mb"] > 0
    assert small(server, 1) == 200


@pytest.mark.timeout(240)
def test_a_killed_engine_is_replaced_by_one_with_the_same_model_and_plan(server: Server) -> None:
    before, info = server.health(), server.get("/info").json()
    os.kill(before["engine_pid"], signal.SIGKILL)
    server.wait_for(lambda: server.health()["engine_restarts"] == before["engine_restarts"] + 1, "the end", 60)
    server.wait_for(lambda: server.get("/readyz").ok, "the new engine", 120)
    after = server.get("/info").json()
    told = ("model_name", "memory_plan", "memory_reason", "gpu", "dtype")
    assert [after[name] for name in told] == [info[name] for name in told]
    assert server.health()["engine_pid"] != before["engine_pid"]
    assert small(server, 2) == 200
