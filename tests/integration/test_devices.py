"""Several devices serve one queue, each with an engine of its own."""

import os
import signal
import time

import pytest

from tests.support.full_mode import needs_full_mode
from tests.support.server import GUNICORN, Server, refused_start
from tests.support.tiny_models import save_tiny_qwen_image


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("devices"), DEVICES="cpu,cpu")
    server.wait_until_ready()
    server.wait_for(lambda: all(each["status"] == "healthy" for each in server.health()["devices"]), "both engines")
    yield server
    server.stop()
    assert server.leftovers() == []


def devices_of(server):
    return {each["name"]: each for each in server.health()["devices"]}


def test_two_images_are_generated_at_a_time_and_everything_tells_by_device(server):
    began = time.monotonic()
    running = [server.start_generating(f"[step=0.1] number {each}", num_inference_steps=10) for each in range(2)]
    server.wait_until_active(2)
    assert [each["active_tasks"] for each in devices_of(server).values()] == [1, 1]
    jobs = [job for job in server.get("/v1/jobs").json()["data"] if job["state"] == "processing"]
    assert {job["device"] for job in jobs} == {"cpu#1", "cpu#2"}
    assert [future.result(30).status_code for future in running] == [200, 200]
    assert time.monotonic() - began < 2 * 10 * 0.1, "one after the other would take 2 s at least"
    assert [each["name"] for each in server.get("/info").json()["devices"]] == ["cpu#1", "cpu#2"]
    metrics = server.get("/metrics").text
    assert all(f'qwen_image_server_seat_ready{{device="{name}"}} 1.0' in metrics for name in ("cpu#1", "cpu#2"))
    server.wait_for(lambda: "qwen_image_server_seats_free 2.0" in server.get("/metrics").text, "two free seats")


def test_an_engine_that_dies_loses_nothing_and_the_other_goes_on(server):
    running = [server.start_generating(f"[step=0.1] again {each}", num_inference_steps=10) for each in range(2)]
    server.wait_until_active(2)
    first = devices_of(server)["cpu#1"]
    os.kill(first["engine_pid"], signal.SIGKILL)
    assert [future.result(30).status_code for future in running] == [200, 200]
    assert devices_of(server)["cpu#2"]["engine_restarts"] == 0
    server.wait_for(lambda: devices_of(server)["cpu#1"]["status"] == "healthy", "another engine")
    assert devices_of(server)["cpu#1"]["engine_restarts"] == first["engine_restarts"] + 1


def test_progress_and_cancel_reach_the_engine_that_runs_the_job(server):
    running = [server.start_generating(f"[step=0.1] stop {each}", num_inference_steps=100) for each in range(2)]
    server.wait_until_active(2)
    for each in range(2):
        job = server.job_with(f"stop {each}")
        server.wait_for(lambda number=job["id"]: server.get(f"/v1/jobs/{number}").json()["step"] > 1, "progress")
        server.ask("DELETE", f"/v1/jobs/{job['id']}")
    assert [future.result(30).json()["code"] for future in running] == ["cancelled", "cancelled"]
    server.wait_until_idle()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"DEVICES": "gpu:0"}, "'gpu:0' is not a device"),
        ({"DEVICES": "cuda:0,cuda:0"}, "cuda:0 is named 2 times"),
        ({"DEVICES": "cpu+"}, "is a group of one"),
        ({"DEVICES": "cpu,cpu", "DEVICE": "cpu"}, "exclude each other"),
        ({"DEVICES": "cuda:97"}, "DEVICES=cuda:97 names cuda:97, but this machine has "),
    ],
)
def test_devices_that_cannot_be_meant_end_the_start_with_one_sentence(tmp_path, settings, reason):
    assert reason in refused_start(GUNICORN, tmp_path, **settings)


@needs_full_mode
def test_the_demo_model_generates_on_two_engines_at_a_time(tmp_path):
    server = Server(tmp_path, engine="real", DEVICES="cpu,cpu", MAX_PIXELS=str(512 * 512), OMP_NUM_THREADS="1")
    try:
        server.wait_until_ready()
        server.wait_for(lambda: all(each["status"] == "healthy" for each in server.health()["devices"]), "both", 60)
        running = [
            server.start_generating("a red circle", seed=seed, num_inference_steps=4, width=512, height=512)
            for seed in range(2)
        ]
        assert [future.result(60).status_code for future in running] == [200, 200]
        assert {job["device"] for job in server.get("/v1/jobs").json()["data"]} == {"cpu#1", "cpu#2"}
    finally:
        server.stop()
    assert server.leftovers() == []


@needs_full_mode
def test_a_divided_transformer_whose_card_dies_costs_no_image(tmp_path):
    server = Server(tmp_path, engine="real", MODEL="demo", DEVICES="cpu+cpu", MEMORY="tensor-parallel")
    try:
        server.wait_until_ready()
        assert "each hold a part of the transformer" in server.get("/info").json()["cards_reason"]
        running = server.start_generating("a red circle", num_inference_steps=50, width=512, height=512)
        server.wait_until_active()
        [rank] = [process for process in server.processes() if "imageserver.engine.rank" in process.cmdline()]
        rank.kill()
        assert running.result(200).status_code == 200
        assert server.health()["engine_restarts"] == 1
        assert "each hold a part of the transformer" in server.get("/info").json()["cards_reason"]
    finally:
        server.stop()
    assert server.leftovers() == []


def image_that_waits_for(rank, server, wanted):
    """Freeze a rank in the middle of an image, which then cannot end before the rank does, and return the image."""
    for seed in range(5):
        marker = f"house {seed}"
        running = server.start_generating(marker, seed=seed, **wanted)
        server.wait_for(lambda marker=marker: server.job_with(marker).get("step", 0) > 1, "the first steps")
        rank.suspend()
        job = server.job_with(marker)
        if job["state"] == "processing" and job["step"] < wanted["num_inference_steps"] - 10:
            return running
        rank.resume()  # on a busy machine the image may have ended before it was seen
    raise AssertionError("Every image has ended before its rank was frozen.")


@pytest.mark.timeout(240)
def test_an_image_of_a_group_of_cards_survives_one_of_them_and_everything_says_so(servers, tmp_path):
    server = servers(
        engine="preloaded", MODEL=str(save_tiny_qwen_image(tmp_path / "qwen")), DEVICES="cpu+cpu", OMP_NUM_THREADS="1",
        MAX_PIXELS=str(256 * 256), MAX_BATCH="2", MAX_STEPS="1000",
    )  # fmt: skip
    wanted = {"true_cfg_scale": 4.0, "negative_prompt": "blurry", "size": "128x128", "num_inference_steps": 4}
    assert server.get("/info").json()["cards"] == ["cpu", "cpu"]
    first = server.generate("a red circle", seed=1, **wanted)
    assert (first.status_code, "X-Warnings" in first.headers) == (200, False)
    [cards] = server.health()["cards"]
    assert cards == {"devices": ["cpu", "cpu"], "in_use": 2, "lost": 0, "reason": ""}
    stopped = server.start_generating("stop it", **wanted | {"num_inference_steps": 1000})
    server.wait_for(lambda: server.job_with("stop it").get("step", 0) > 1, "the first steps")
    server.ask("DELETE", f"/v1/jobs/{server.job_with('stop it')['id']}")
    assert stopped.result(20).json()["code"] == "cancelled"
    [rank] = [process for process in server.processes() if "imageserver.engine.rank" in process.cmdline()]
    running = image_that_waits_for(rank, server, wanted | {"num_inference_steps": 60})
    rank.kill()
    answer = running.result(60)
    assert answer.status_code == 200
    assert "card of the group was lost" in answer.headers["X-Warnings"]
    [cards] = server.health()["cards"]
    assert (cards["lost"], server.health()["engine_restarts"]) == (1, 0)
