"""A client of AUTOMATIC1111's API sees and stops its own request, and nobody else's, on every worker."""

import json

import pytest

from tests.support.automatic1111_client import Automatic1111Client, images_of, info_of, job_of
from tests.support.images import opened

POLLS = 15


@pytest.fixture(scope="module")
def two_workers(servers):
    return servers(WORKERS="2", FAKE_IN_FLIGHT="4")


def test_sillytavern_that_stops_interrupts_and_hangs_up_and_nobody_else_is_stopped(two_workers):
    tavern, neighbour = Automatic1111Client(two_workers), Automatic1111Client(two_workers, "127.0.0.2")
    untouched = neighbour.start_generating("[step=0.05] neighbour", steps=40, seed=90)
    neighbour.wait_until_busy()
    body = json.dumps({"prompt": "[step=0.05] tavern", "steps": 100, "width": 64, "height": 64}).encode()
    with two_workers.raw_generation(body, path="/sdapi/v1/txt2img"):
        tavern.wait_until_busy()
        assert tavern.post("/sdapi/v1/interrupt").json() == {}
    tavern.wait_until_idle()
    assert tavern.progress()["state"]["interrupted"]
    assert images_of(untouched.result(30))[0].getpixel((0, 0)) == (90, 90, 90)
    assert not info_of(untouched.result())["interrupted"]


def test_a_client_that_hangs_up_cancels_its_request_and_leaves_its_neighbours(two_workers):
    leaver, neighbour = Automatic1111Client(two_workers), Automatic1111Client(two_workers, "127.0.0.2")
    untouched = neighbour.start_generating("[step=0.05] the neighbour of a leaver", steps=30, seed=91)
    neighbour.wait_until_busy()
    body = json.dumps({"prompt": "[step=0.05] leaver", "steps": 100, "width": 64, "height": 64}).encode()
    with two_workers.raw_generation(body, path="/sdapi/v1/txt2img"):
        leaver.wait_until_busy()
    leaver.wait_until_idle()
    [job] = [job for job in two_workers.get("/v1/jobs").json()["data"] if job["prompt"] == "[step=0.05] leaver"]
    assert job["state"] == "cancelled"
    assert images_of(untouched.result(30))[0].getpixel((0, 0)) == (91, 91, 91)


def test_the_progress_is_the_same_whichever_worker_is_asked(two_workers):
    client = Automatic1111Client(two_workers)
    generating = client.start_generating("[step=0.1] watched", steps=30, seed=150, batch_size=2, width=1024, height=512)
    client.wait_until_busy(steps=4)
    seen = [client.progress() for _ in range(POLLS)]
    assert all(answer["state"]["job_count"] == 2 for answer in seen)
    assert all(answer["state"]["sampling_steps"] == 30 for answer in seen)
    assert [answer["progress"] for answer in seen] == sorted(answer["progress"] for answer in seen)
    assert all(answer["eta_relative"] > 0 for answer in seen)
    for answer in seen:
        preview = opened(answer["current_image"])
        assert (preview.format, preview.size) == ("PNG", (512, 256))
        assert preview.getpixel((0, 0)) == (150, 150, 150)
    assert client.progress(skip_current_image="true")["current_image"] is None
    assert client.post("/sdapi/v1/interrupt").status_code == 200
    assert generating.result(30).status_code == 200


@pytest.mark.parametrize("turn", range(4))
def test_an_interrupted_request_is_answered_with_its_previews_whichever_worker_is_told(two_workers, turn):
    client = Automatic1111Client(two_workers)
    generating = client.start_generating("[step=0.05] interrupted", steps=100, seed=160, n_iter=2, width=96)
    client.wait_until_busy(steps=15)
    assert client.post("/sdapi/v1/interrupt").json() == {}
    answer = generating.result(10)
    [image] = images_of(answer)  # the second one was not begun
    assert image.size == (96, 64)
    assert image.getpixel((50, 50)) == (160, 160, 160)
    info = info_of(answer)
    assert (info["interrupted"], info["all_seeds"]) == (True, [160])
    assert info["infotexts"] == [image.info["parameters"]]
    assert "interrupted" in answer.headers["X-Warnings"]
    assert job_of(two_workers, answer)["state"] == "cancelled"
    idle = client.progress()
    assert (idle["progress"], idle["state"]["job_count"], idle["state"]["interrupted"]) == (0, 0, True)


def test_a_request_that_is_interrupted_while_it_waits_is_answered_without_images(quiet_server):
    first, second = Automatic1111Client(quiet_server, "127.0.0.21"), Automatic1111Client(quiet_server, "127.0.0.22")
    running = first.start_generating("[step=0.05] first", steps=60)
    first.wait_until_busy(steps=1)
    waiting = second.start_generating("second")
    second.wait_until_busy()
    waits = second.progress()
    assert waits["progress"] > 0
    assert (waits["state"]["sampling_step"], waits["textinfo"]) == (0, "Waiting: 1 ahead.")
    second.post("/sdapi/v1/interrupt")
    answer = waiting.result(10)
    assert (answer.status_code, answer.json()["images"], info_of(answer)["interrupted"]) == (200, [], True)
    assert not info_of(running.result(30))["interrupted"]


def test_interrupting_nothing_is_no_error(quiet_server):
    client = Automatic1111Client(quiet_server, "127.0.0.23")
    for path in ("interrupt", "skip"):
        assert client.post(f"/sdapi/v1/{path}").status_code == 200
    assert client.progress()["state"] == {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0,
        "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
    }  # fmt: skip


def test_skip_stops_one_image_and_says_that_several_are_generated_together(quiet_server):
    client = Automatic1111Client(quiet_server, "127.0.0.24")
    generating = client.start_generating("[step=0.05] two", steps=30, n_iter=2)
    client.wait_until_busy(steps=1)
    assert "generated together" in client.post("/sdapi/v1/skip").headers["X-Warnings"]
    assert not info_of(generating.result(30))["interrupted"]
    generating = client.start_generating("[step=0.05] one", steps=100)
    client.wait_until_busy(steps=1)
    assert client.post("/sdapi/v1/skip").json() is None
    assert info_of(generating.result(10))["interrupted"]


def test_a_generating_in_another_dialect_is_neither_shown_nor_stopped(quiet_server):
    client = Automatic1111Client(quiet_server, "127.0.0.25")
    generating = quiet_server.start_generating("[step=0.05]", num_inference_steps=30)
    quiet_server.wait_until_active()
    assert client.progress()["state"]["job_count"] == 0
    client.post("/sdapi/v1/interrupt")
    assert generating.result(30).status_code == 200
