"""Engines that load slowly, die, fall silent or never start (faults 2, 3, 11, 12, 13)."""

import os
import signal
import time

import psutil
import pytest


def engines(server):
    """Return the living engine processes of a server."""
    return [process for process in server.processes() if "tests.support.fake_engine" in process.cmdline()]


@pytest.mark.fault(2)
def test_server_answers_while_the_model_loads_and_serves_what_waited(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="3")
    server.wait_for(lambda: server.get("/startupz").json()["phase"] == "loading", "the loading phase")
    assert min(server.get("/livez").elapsed.total_seconds() for _ in range(5)) < 0.1
    assert (server.get("/readyz").status_code, server.get("/readyz").json()["status"]) == (503, "loading")
    progress = server.get("/startupz")
    assert (progress.status_code, progress.json()["fraction"]) == (503, 0.5)
    assert "loading" in progress.json()["reason"]
    info = server.get("/info")
    assert (info.status_code, info.json()["code"]) == (503, "loading")
    assert int(info.headers["Retry-After"]) >= 1
    waiting = server.start_generating("a red circle")
    assert server.health()["model_loaded"] is False
    assert waiting.result(30).status_code == 200
    assert server.get("/readyz").status_code == 200


def test_deadline_passes_while_the_model_loads(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="5")
    server.wait_for(lambda: server.get("/startupz").json()["phase"] == "loading", "the loading phase")
    began = time.monotonic()
    answer = server.generate(timeout=0.5)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "waited for the model" in answer.json()["error"]
    assert time.monotonic() - began < 2


@pytest.mark.fault(3)
def test_killed_engine_heals_and_its_job_is_run_again(own_server):
    before = own_server.health()
    running = own_server.start_generating("[step=0.1]", num_inference_steps=10)
    waiting = own_server.start_generating("a cat")
    own_server.wait_until_active()
    os.kill(before["engine_pid"], signal.SIGKILL)
    assert running.result(30).status_code == 200
    assert waiting.result(30).status_code == 200
    after = own_server.health()
    assert after["engine_restarts"] == before["engine_restarts"] + 1
    assert after["engine_pid"] != before["engine_pid"]
    assert after["status"] == "healthy"
    assert len(engines(own_server)) == 1


@pytest.mark.fault(13)
def test_job_that_kills_two_engines_fails_and_the_next_one_is_served(own_server):
    waiting = []
    deadly = own_server.start_generating("[step=0.3] [die]")
    own_server.wait_until_active()
    waiting.append(own_server.start_generating("a cat"))
    answer = deadly.result(30)
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert waiting[0].result(30).status_code == 200
    assert own_server.health()["engine_restarts"] == 2


@pytest.mark.fault(4)
def test_lost_device_is_told_by_readyz_until_a_new_engine_is_ready_and_no_image_is_made_of_it(own_servers):
    server = own_servers(FAKE_LOAD="1")
    before = server.health()
    lost = server.start_generating("[step=0.2] [lost]")
    server.wait_for(lambda: server.get("/readyz").status_code == 503, "the notice")
    assert lost.result(30).status_code == 503
    server.wait_until_ready()
    after = server.health()
    # Once for each of its two tries.
    assert after["engine_restarts"] == before["engine_restarts"] + 2
    assert after["engine_pid"] != before["engine_pid"]
    assert server.generate().ok


def test_job_that_kills_engines_does_not_take_its_neighbours_along(own_servers):
    server = own_servers(FAKE_IN_FLIGHT="3")
    deadly = server.start_generating("[step=0.3] [die]")
    server.wait_until_active()
    neighbours = [server.start_generating("a cat") for _ in range(2)]
    assert deadly.result(30).status_code == 503
    assert [neighbour.result(30).status_code for neighbour in neighbours] == [200, 200]


@pytest.mark.fault(11)
def test_deaf_engine_is_replaced_and_its_job_answered_with_504(own_servers):
    server = own_servers(STEP_TIMEOUT="2")
    old = server.health()["engine_pid"]
    began = time.monotonic()
    answer = server.generate("[stop]")
    seconds = time.monotonic() - began
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert 2 <= seconds < 6
    assert server.generate().ok
    assert server.health()["engine_restarts"] == 1
    assert not psutil.pid_exists(old) or psutil.Process(old).status() == psutil.STATUS_ZOMBIE


@pytest.mark.fault(12)
def test_engine_that_crashes_while_loading_is_tried_a_few_times_with_pauses(own_servers):
    server = own_servers(ready=False, FAKE_CRASH="1")
    waiting = server.start_generating("a cat")
    server.wait_for(lambda: server.get("/startupz").json()["phase"] == "failed", "the end of the tries", 40)
    answer = waiting.result(5)
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    health = server.health()
    assert (health["status"], health["model_loaded"], health["engine_pid"]) == ("degraded", False, None)
    assert "died 5 times while loading" in health["reason"]
    assert health["engine_restarts"] == 4
    assert server.get("/readyz").status_code == 503
    answer = server.generate()
    assert answer.status_code == 503
    assert "died 5 times" in answer.json()["error"]


@pytest.mark.fault(50)
def test_engine_that_hangs_while_it_loads_is_replaced_and_the_request_answered(own_servers, tmp_path):
    server = own_servers(ready=False, FAKE_LOAD_HANG=str(tmp_path / "hung"), LOAD_STALL_TIMEOUT="2")
    waiting = server.start_generating("a cat")
    server.wait_for(lambda: "without any progress for 2 s" in server.health()["reason"], "the end of the hang")
    assert waiting.result(15).ok
    assert server.health()["engine_restarts"] == 1


def test_model_that_cannot_be_loaded_is_told_at_once_and_frees_its_process(own_servers):
    server = own_servers(ready=False, FAKE_LOAD_FAIL="The fake model is broken.")
    server.wait_for(lambda: server.health()["reason"] == "The fake model is broken.", "the reason")
    answer = server.generate()
    assert (answer.status_code, answer.json()["error"]) == (503, "The fake model is broken.")
    server.wait_for(lambda: not engines(server), "the end of the engine", 3)
    assert server.health()["engine_restarts"] == 0
    assert server.health()["reason"] == "The fake model is broken."


@pytest.mark.fault(12)
def test_missing_model_folder_keeps_the_port_up_and_says_why(own_servers, tmp_path):
    missing = tmp_path / "no model here"
    server = own_servers(ready=False, engine="real", MODEL=str(missing))
    server.wait_for(lambda: server.health()["status"] == "degraded", "the failure", 90)
    assert f"MODEL={missing.name} is neither a folder" in server.health()["reason"]
    answer = server.generate()
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    assert server.get("/livez").ok
