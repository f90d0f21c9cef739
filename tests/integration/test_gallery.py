"""What a real server saves is in its gallery, whichever way it was asked for."""

import io
import uuid

import requests
from PIL import Image

SMALL = {"size": "96x64", "num_inference_steps": 2, "n": 2, "add_overlay": False}


def listed(server, query):
    return server.get(f"/v1/gallery?q={query}").json()["data"]


def pixels(content):
    return Image.open(io.BytesIO(content)).tobytes()


def test_saved_images_and_those_of_tasks_are_listed_with_thumbnails_and_can_be_deleted(fake_server):
    word = f"word{uuid.uuid4().hex}"
    saved = requests.post(
        f"{fake_server.url}/generate", json={**SMALL, "prompt": f"saved {word}", "save_to_file": True}, timeout=30
    ).json()
    task = f"/v1/tasks/{uuid.uuid4()}"
    requests.put(fake_server.url + task, json={**SMALL, "prompt": f"of a task {word}"}, timeout=30)
    requests.post(f"{fake_server.url}/generate", json={**SMALL, "prompt": f"not saved {word}"}, timeout=30)
    fake_server.wait_for(lambda: fake_server.get(task).json()["completed_at"], "the end of the task", 40)
    items = listed(fake_server, word)
    assert [item["prompt"].removesuffix(word) for item in items] == 2 * ["of a task "] + 2 * ["saved "]
    assert [item["url"] for item in reversed(items[2:])] == saved["urls"]
    assert [item["seed"] for item in reversed(items[2:])] == saved["seeds"]
    thumbnail = requests.get(items[0]["thumbnail_url"], timeout=30)
    assert Image.open(io.BytesIO(thumbnail.content)).size == (96, 64)
    again = requests.post(f"{fake_server.url}/generate", json=items[3]["settings"], timeout=30)
    # The file also says how long it took.
    assert pixels(again.content) == pixels(requests.get(items[3]["url"], timeout=30).content)
    assert fake_server.get("/info").json()["gallery"] is True
    gone = fake_server.url + f"/v1/gallery/{items[0]['name']}"
    assert requests.delete(gone, timeout=30).status_code == 200
    assert [item["name"] for item in listed(fake_server, word)] == [item["name"] for item in items[1:]]
