"""Tasks are taken at once, told about later, and survive whatever dies meanwhile."""

import io
import os
import signal
import time

import pytest
import requests
from PIL import Image

from tests.support.server import Server


def submit(server: Server, prompt: str = "a task", **fields: object) -> dict:
    answer = requests.post(
        f"{server.url}/submit",
        json={"prompt": prompt, "resolution": "64x64", "num_inference_steps": 3} | fields,
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def status(server: Server, task_id: str) -> dict:
    return server.get(f"/status/{task_id}").json()


def wait_for(server: Server, task_id: str, state: str, timeout: float = 30) -> dict:
    server.wait_for(lambda: status(server, task_id).get("status") == state, f"{state}", timeout)
    return status(server, task_id)


def test_a_task_is_answered_at_once_and_its_images_are_fetched_later(fake_server):
    began = time.monotonic()
    taken = submit(fake_server, "[step=0.1] later", num_inference_steps=10, num_images_per_prompt=2)
    assert time.monotonic() - began < 0.9
    assert (taken["status"], taken["message"]) == ("queued", "Task submitted successfully")
    early = requests.get(f"{fake_server.url}/download/{taken['task_id']}", timeout=5)
    assert (early.status_code, early.json()["error"]) == (400, "Task not completed")
    done = wait_for(fake_server, taken["task_id"], "completed")
    assert (done["progress"], len(done["result_urls"]), done["error"]) == (100, 2, None)
    assert done["processing_time"] > 0
    assert done["created_at"] <= done["completed_at"]
    for index, url in enumerate(done["result_urls"]):
        by_url = requests.get(url, timeout=5).content
        by_task = fake_server.get(f"/download/{taken['task_id']}?image_index={index}").content
        assert by_url == by_task
        assert Image.open(io.BytesIO(by_url)).size == (64, 64)


def test_a_task_is_answered_at_once_while_its_model_loads_and_survives_that_its_worker_dies(own_servers, tmp_path):
    names = tmp_path / "models.toml"
    names.write_text('["slow"]\nsource = "demo"\n')
    server = own_servers(MODELS_FILE=str(names), FAKE_LOAD_MODEL="6")
    began = time.monotonic()
    first, second = submit(server, "first", model="slow"), submit(server, "second", model="slow", n=2)
    assert time.monotonic() - began < 3
    assert [task["estimated_time"] for task in (first, second)] == [None, None]
    assert second["warnings"] == []
    refused = requests.post(f"{server.url}/submit", json={"prompt": "x", "model": "slow", "n": 99}, timeout=5)
    assert (refused.status_code, refused.json()["param"]) == (422, "n")
    server.wait_for(lambda: status(server, first["task_id"])["status"] == "queued", "the wait for the model")
    requests.delete(f"{server.url}/status/{first['task_id']}", timeout=5)
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    done = wait_for(server, second["task_id"], "completed")
    assert len(done["result_urls"]) == 2
    assert status(server, first["task_id"])["status"] == "cancelled"
    assert server.get(f"/v1/jobs/{done['requestId']}").json()["model"] == "slow"


def test_a_running_task_tells_its_progress_and_is_a_job(fake_server):
    fake_server.generate("[step=0.1] what the estimate learns from", num_inference_steps=2)
    taken = submit(fake_server, "[step=0.1] progress", num_inference_steps=20)
    fake_server.wait_for(lambda: 0 < status(fake_server, taken["task_id"])["progress"] < 100, "progress")
    now = status(fake_server, taken["task_id"])
    assert now["status"] == "processing"
    assert now["estimated_time"] > 0
    assert fake_server.get(f"/v1/jobs/{now['requestId']}").json()["dialect"] == "tasks"
    cancelled = requests.delete(f"{fake_server.url}/status/{taken['task_id']}", timeout=5).json()
    assert cancelled["status"] == "cancelled"
    fake_server.wait_until_idle()
    assert status(fake_server, taken["task_id"])["status"] == "cancelled"


def test_a_batch_with_a_wrong_field_is_refused_as_a_whole(fake_server):
    prompts = ["first of a refused batch", "", "third of a refused batch"]
    wanted = [{"prompt": prompt, "resolution": "64x64"} for prompt in prompts]
    answer = requests.post(f"{fake_server.url}/batch_submit", json={"requests": wanted}, timeout=20)
    assert (answer.status_code, answer.json()["param"]) == (400, "requests[1].prompt")
    assert answer.json()["error"] == "Task 1: Prompt is required"
    submit(fake_server, "after the refused batch")
    jobs = [job["prompt"] for job in fake_server.get("/v1/jobs").json()["data"]]
    assert "after the refused batch" in jobs
    assert not {prompts[0], prompts[2]} & set(jobs)


def test_a_batch_takes_what_there_is_room_for_and_says_what_there_is_not(servers):
    server = servers(MAX_QUEUE="2")
    wanted = [{"prompt": f"[step=0.1] {n}", "resolution": "64x64", "num_inference_steps": 5} for n in range(4)]
    answer = requests.post(f"{server.url}/batch_submit", json={"requests": wanted}, timeout=20).json()
    assert [task["status"] for task in answer["tasks"]] == ["queued", "queued", "refused", "refused"]
    assert (answer["tasks"][3]["code"], len(answer["task_ids"])) == ("queue_full", 2)
    assert answer["message"] == "2 of 4 tasks were accepted."
    for task_id in answer["task_ids"]:
        wait_for(server, task_id, "completed")


def test_a_failed_task_says_why(fake_server):
    failed = wait_for(fake_server, submit(fake_server, "[fail]")["task_id"], "failed")
    assert (failed["code"], failed["result_urls"]) == ("generation_failed", [])


@pytest.mark.parametrize(
    ("fields", "status_code", "param"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "x", "resolution": "huge"}, 422, "resolution"),
        ({"prompt": "x", "resolution": "1x1"}, 422, "resolution"),
        ({"prompt": "x", "resolution": "4096x4096"}, 422, "resolution"),
        ({"prompt": "x", "num_images_per_prompt": 1000}, 422, "num_images_per_prompt"),
        ({"prompt": "x", "num_images_per_prompt": 1, "n": 1000}, 422, "n"),
        ({"prompt": "x", "colour": "red"}, 422, "colour"),
    ],
)
def test_wrong_tasks_are_refused_at_once_by_name(fake_server, fields, status_code, param):
    answer = requests.post(f"{fake_server.url}/submit", json=fields, timeout=5)
    assert (answer.status_code, answer.json()["param"]) == (status_code, param)


def test_unknown_tasks_and_images_are_404(fake_server):
    for path in ("/status/nothing", "/download/nothing", "/status/..%2f..%2fetc"):
        assert fake_server.get(path).status_code == 404
    done = submit(fake_server)
    wait_for(fake_server, done["task_id"], "completed")
    answer = fake_server.get(f"/download/{done['task_id']}?image_index=1")
    assert (answer.status_code, answer.json()["param"]) == (404, "image_index")
    assert fake_server.get(f"/download/{done['task_id']}?image_index=x").status_code == 422


def test_more_tasks_than_the_queue_takes_are_refused_with_a_time_to_come_back(own_servers):
    server = own_servers(MAX_QUEUE="2")
    for _ in range(2):
        submit(server, "[step=0.2]", seed=None)
    answer = requests.post(f"{server.url}/submit", json={"prompt": "x"}, timeout=5)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_finished_tasks_expire(own_servers):
    server = own_servers(TASK_TTL="1")
    taken = submit(server)
    wait_for(server, taken["task_id"], "completed")
    server.wait_for(lambda: server.get(f"/status/{taken['task_id']}").status_code == 410, "410")
    assert server.get(f"/download/{taken['task_id']}").json()["code"] == "gone"


@pytest.mark.fault(6)
def test_a_killed_worker_loses_no_task(own_servers):
    server = own_servers()
    tasks = [submit(server, f"[step=0.1] {number}", num_inference_steps=10)["task_id"] for number in range(3)]
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    for task_id in tasks:
        wait_for(server, task_id, "completed")


@pytest.mark.fault(14)
@pytest.mark.fault(3)
def test_a_killed_dispatcher_and_a_killed_engine_lose_no_task(own_servers):
    server = own_servers()
    tasks = [submit(server, f"[step=0.1] {number}", num_inference_steps=10)["task_id"] for number in range(2)]
    os.kill(server.health()["dispatcher_pid"], signal.SIGKILL)
    for task_id in tasks:
        wait_for(server, task_id, "completed", timeout=40)


def test_tasks_go_on_after_a_restart_of_the_whole_server(own_servers, tmp_path):
    places = {"STATE_DIR": str(tmp_path / "state"), "OUTPUT_DIR": str(tmp_path / "tmp"), "GRACEFUL_TIMEOUT": "2"}
    server = own_servers(**places)
    tasks = [submit(server, f"[step=0.2] {number}", num_inference_steps=10)["task_id"] for number in range(2)]
    server.stop()
    again = own_servers(**places)
    for task_id in tasks:
        wait_for(again, task_id, "completed")


def test_several_workers_share_the_tasks(own_servers):
    server = own_servers(WORKERS="2")
    tasks = [submit(server, f"shared {number}")["task_id"] for number in range(6)]
    for task_id in tasks:
        assert len(wait_for(server, task_id, "completed")["result_urls"]) == 1
