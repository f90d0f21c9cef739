"""A native task takes what /generate takes, may be repeated, and survives its worker with its image."""

import base64
import io
import os
import signal
import uuid

import requests
from PIL import Image

from tests.integration.test_jobs import events

SMALL = {"size": "64x64", "num_inference_steps": 3}


def put(server, task_id, **fields):
    return requests.put(f"{server.url}/v1/tasks/{task_id}", json={**SMALL, **fields}, timeout=20)


def ended(server, task_id):
    server.wait_for(lambda: server.get(f"/v1/tasks/{task_id}").json()["completed_at"], "the end of the task", 40)
    return server.get(f"/v1/tasks/{task_id}").json()


def test_a_task_that_is_sent_twice_is_generated_once(fake_server):
    task_id = str(uuid.uuid4())
    answers = [put(fake_server, task_id, prompt="sent twice").json() for _ in range(2)]
    assert answers[0]["requestId"] == answers[1]["requestId"]
    assert ended(fake_server, task_id)["status"] == "completed"
    jobs = [job for job in fake_server.get("/v1/jobs").json()["data"] if job["prompt"].startswith("sent twice")]
    assert len(jobs) == 1


def test_a_refused_task_is_unknown_afterwards(fake_server):
    task_id = str(uuid.uuid4())
    refused = put(fake_server, task_id, prompt="x", n=99)
    assert (refused.status_code, refused.json()["param"]) == (422, "n")
    assert fake_server.get(f"/v1/tasks/{task_id}").status_code == 404
    assert put(fake_server, "no-uuid", prompt="x").status_code == 404


def test_its_events_have_previews_where_they_are_wanted(fake_server):
    task_id = str(uuid.uuid4())
    task = put(fake_server, task_id, prompt="[step=0.1] shown", num_inference_steps=10, previews=5).json()
    address = f"{fake_server.url}/v1/jobs/{task['requestId']}/events?previews=true"
    with requests.get(address, stream=True, timeout=20) as answer:
        lines = list(answer.iter_lines(decode_unicode=True))
    previews = [lines[index + 1] for index, line in enumerate(lines) if line == "event: preview"]
    assert 1 <= len(previews) <= 5
    image = base64.b64decode(previews[-1].partition('"image_b64":"')[2].partition('"')[0])
    assert Image.open(io.BytesIO(image)).format == "JPEG"
    assert {name for _, name, _ in events(fake_server, task["requestId"])}.isdisjoint({"preview"})


def test_a_task_with_an_image_survives_that_its_worker_dies(own_server):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    task_id, image = str(uuid.uuid4()), base64.b64encode(file.getvalue()).decode()
    fields = {"prompt": "[step=0.1] from red", "num_inference_steps": 20, "seed": 5, "add_overlay": False}
    put(own_server, task_id, image=image, **fields).raise_for_status()
    own_server.wait_until_active()
    [worker] = own_server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    done = ended(own_server, task_id)
    assert done["status"] == "completed", done
    direct = own_server.generate(fields.pop("prompt"), image=image, size="64x64", **fields)
    again = own_server.get(f"/images/{done['result_urls'][0].rpartition('/')[2]}")
    sent, got = (Image.open(io.BytesIO(answer.content)).tobytes() for answer in (direct, again))
    assert sent == got
    assert not list((own_server.folder / "state" / "task_sources").glob("*"))
