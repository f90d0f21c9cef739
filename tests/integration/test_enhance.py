"""A request with `enhance` gets an image of a better prompt, and says so everywhere; without one it gets an image."""

import json
import threading
import uuid

import openai
import pytest
import requests

from tests.support.images import opened
from tests.support.scripted_http import scripted_server

SMALL = {"size": "64x64", "num_inference_steps": 1, "add_overlay": False}
PATH = "POST /v1/chat/completions"
KEY = "the key of the chat"


@pytest.fixture(scope="module")
def chat():
    """A chat endpoint that calls every prompt better."""
    with scripted_server() as server:
        server.answers[PATH] = lambda asked: (
            200,
            {"choices": [{"message": {"content": f"A better {asked.body['messages'][1]['content']}."}}]},
        )
        yield server


@pytest.fixture(scope="module")
def enhancing(servers, chat):
    return servers(ENHANCE_URL=f"{chat.url}/v1", ENHANCE_KEY=KEY, ENHANCE_MODEL="small", LOG_PROMPTS="0")


def texts_in(response):
    texts = opened(response).info
    return texts["parameters"], json.loads(texts["generation"])


def test_the_image_is_that_of_the_better_prompt_and_keeps_both(enhancing, chat):
    response = enhancing.generate("fox", enhance=True, **SMALL)
    infotext, metadata = texts_in(response)
    assert "X-Warnings" not in response.headers
    assert infotext.startswith("A better fox, Ultra HD")
    assert "Raw prompt: fox" in infotext
    assert metadata["extra"]["Raw prompt"] == "fox"
    # Sent again, it makes the same image, whatever language model there is then.
    assert metadata["request"]["prompt"] == "A better fox"
    assert metadata["request"]["positive_magic"] is True
    assert "enhance" not in metadata["request"]
    assert chat.requests[-1].key == f"Bearer {KEY}"
    assert chat.requests[-1].body["model"] == "small"
    assert enhancing.get("/info").json()["enhance"] is True


def test_every_answer_with_json_says_the_better_prompt(enhancing):
    body = {"prompt": "owl", "enhance": True, "save_to_file": True, **SMALL}
    assert enhancing.post(body).json()["revised_prompt"] == "A better owl"
    again = enhancing.post(body).json()
    assert (again["cache"], again["revised_prompt"]) == ("hit", "A better owl")
    with openai.OpenAI(base_url=f"{enhancing.url}/v1", api_key="any", max_retries=0) as client:
        images = client.images.generate(prompt="owl", size="64x64", n=2, extra_body={"enhance": True})
        assert [image.revised_prompt for image in images.data] == ["A better owl."] * 2
        *_, last = client.images.generate(prompt="owl", size="64x64", stream=True, extra_body={"enhance": True})
        assert last.revised_prompt == "A better owl."
        assert client.images.generate(prompt="owl", size="64x64").data[0].revised_prompt is None
    assert enhancing.generate("owl", save_to_file=True, **SMALL).json()["revised_prompt"] is None


def test_a_model_that_was_never_loaded_is_served_by_the_endpoint_too(enhancing, fake_server):
    asked = [server.get("/v1/models/demo").json() for server in (enhancing, fake_server)]
    assert asked[0]["details"] is None
    assert [model["enhance"] for model in asked] == [True, False]


def test_tasks_are_enhanced_as_well(enhancing):
    task_id = uuid.uuid4()
    body = {"prompt": "hare", "enhance": True, **SMALL}
    assert requests.put(f"{enhancing.url}/v1/tasks/{task_id}", json=body, timeout=20).status_code == 200
    enhancing.wait_for(lambda: enhancing.get(f"/v1/tasks/{task_id}").json()["completed_at"], "the task", 20)
    task = enhancing.get(f"/v1/tasks/{task_id}").json()
    # As LOG_PROMPTS=0 wants it for jobs of anybody.
    assert enhancing.get(f"/v1/jobs/{task['requestId']}").json()["revised_prompt"] is None
    _, metadata = texts_in(enhancing.get(task["result_urls"][0].removeprefix(enhancing.url)))
    assert metadata["prompt"].startswith("A better hare, Ultra")


def test_a_task_can_be_cancelled_while_the_endpoint_is_asked(enhancing, chat):
    working, answered = chat.answers[PATH], threading.Event()

    def wait(asked):
        answered.wait(20)
        return working(asked)

    chat.answers[PATH] = wait
    address = f"{enhancing.url}/v1/tasks/{uuid.uuid4()}"
    try:
        before = len(chat.requests)
        task = requests.put(address, json={"prompt": "slow lynx", "enhance": True, **SMALL}, timeout=10).json()
        assert task["status"] == "queued"
        enhancing.wait_for(lambda: len(chat.requests) > before, "the question", 10)
        assert requests.delete(address, timeout=10).json()["status"] == "cancelled"
    finally:
        answered.set()
        chat.answers[PATH] = working
    # The answer is there before that of the next one; no job has come of it.
    enhancing.generate("next", enhance=True, **SMALL)
    assert requests.get(address, timeout=10).json()["status"] == "cancelled"
    assert enhancing.get(f"/v1/jobs/{task['requestId']}").status_code == 404


def test_where_the_endpoint_fails_there_is_an_image_with_a_warning_which_is_not_kept(enhancing, chat):
    working = chat.answers[PATH]
    chat.answers[PATH] = (500, {"error": KEY})
    try:
        headers = {"Idempotency-Key": "one that failed"}
        body = {"prompt": "wolf", "enhance": True, "save_to_file": True, **SMALL}
        failed = enhancing.post(body, headers=headers).json()
        assert failed["revised_prompt"] is None
        [warning] = failed["warnings"]
        assert warning.startswith("enhance failed")
        assert "it returned 500" in warning
        # The same request is answered as it was.
        assert enhancing.post(body, headers=headers).json()["warnings"] == failed["warnings"]
    finally:
        chat.answers[PATH] = working
    assert enhancing.post(body).json()["revised_prompt"] == "A better wolf"


def test_prompts_and_the_key_are_in_no_log(enhancing):
    enhancing.generate("unmistakable", enhance=True, **SMALL)
    assert "unmistakable" not in enhancing.log
    assert KEY not in enhancing.log


def test_a_server_that_cannot_says_so_and_generates(fake_server):
    response = fake_server.generate("a fox", enhance=True, **SMALL)
    assert opened(response).size == (64, 64)
    assert "enhance is ignored" in response.headers["X-Warnings"]
    assert fake_server.get("/info").json()["enhance"] is False
