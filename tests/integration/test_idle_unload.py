"""A server whose engine has ended for want of requests looks ready, and every way to ask for an image starts it."""

import pytest

from tests.integration.test_every_dialect import DIALECTS
from tests.integration.test_tasks import submit, wait_for
from tests.integration.test_websocket import check_whole_life


@pytest.fixture(scope="module")
def resting(servers):
    """A server that ends its engine after half a second."""
    return servers(IDLE_UNLOAD="0.5")


def wait_until_it_rests(server):
    server.wait_for(lambda: server.health()["engine_pid"] is None, "the end of the engine")
    server.wait_for(lambda: len(server.processes()) == 3, "the end of its process")


def test_it_stays_ready_and_tells_that_no_model_is_loaded(resting):
    resting.generate("a circle")
    wait_until_it_rests(resting)
    assert resting.get("/readyz").status_code == resting.get("/startupz").status_code == 200
    health, info = resting.health(), resting.get("/info").json()
    assert (health["status"], health["model_loaded"], info["model_loaded"]) == ("healthy", False, False)
    assert health["reason"] == "The engine has ended after 0.5 s without a request; the next one starts it."
    assert (health["engine_restarts"], info["model_name"]) == (0, "fake")
    metrics = resting.get("/metrics").text
    assert "qwen_image_server_model_loaded 0.0" in metrics
    assert "qwen_image_server_idle_unloads_total" in metrics
    assert "after 0.5 s without a request" in resting.log


def test_what_only_asks_is_answered_without_an_engine(resting):
    wait_until_it_rests(resting)
    page = resting.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for path in ("/v1/models", "/v1/loras", "/v1/jobs", "/sdapi/v1/options", "/sdapi/v1/sd-models", "/status"):
        assert resting.get(path).status_code == 200, path
    unloaded = resting.ask("POST", "/v1/models/unload", json={"model": "fake"}, timeout=20)
    assert (unloaded.status_code, unloaded.json()["loaded"]) == (200, False)
    estimate = resting.ask("POST", "/v1/estimate", json={"prompt": "a cat"}, timeout=20)
    assert estimate.status_code == 200
    assert resting.health()["engine_pid"] is None
    assert len(resting.processes()) == 3


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_the_next_request_of_any_dialect_starts_it(resting, dialect):
    wait_until_it_rests(resting)
    response = dialect.ask(resting, "a circle")
    assert response.status_code == 200, response.text
    assert resting.health()["engine_restarts"] == 0


def test_so_do_a_socket_a_task_and_a_model_that_is_loaded(resting):
    wait_until_it_rests(resting)
    check_whole_life(resting)
    wait_until_it_rests(resting)
    wait_for(resting, submit(resting)["task_id"], "completed")
    wait_until_it_rests(resting)
    loaded = resting.ask("POST", "/v1/models/load", json={"model": "demo"}, timeout=20)
    assert (loaded.status_code, loaded.json()["loaded"]) == (200, True)
    assert resting.health()["status"] == "healthy"
