"""The OpenAI SDK sends a request again when it loses patience: it gets its own image, generated once."""

import asyncio
import socket
from typing import Any

import openai
import pytest
import requests

from tests.support.images import one_colour, opened
from tests.support.own_loop import run_in_own_loop
from tests.support.server import Server, in_background

# Longer than two tries of a client that waits one second, and shorter than its third.
SLOW = {"num_inference_steps": 18}


def jobs_with(server: Server, marker: str) -> list[dict[str, Any]]:
    """Return the requests whose prompt contains a word, the first one first."""
    found = [job for job in server.get("/v1/jobs").json()["data"] if marker in job["prompt"]]
    return found[::-1]


def assert_generated_once(server: Server, marker: str, seed: int) -> None:
    """Check that several requests came, that the engine ran only the first, and that all got the same image."""
    found = jobs_with(server, marker)
    assert len(found) > 1
    assert [job["state"] for job in found] == ["completed"] * len(found)
    assert [job["cache"] for job in found].count("miss") == 1
    assert {job["seed"] for job in found} == {seed}


def impatient(server: Server, **options: Any) -> openai.OpenAI:
    # Two retries are what the SDK does by itself.
    chosen: dict[str, Any] = {"timeout": 1.0, "max_retries": 2} | options
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", **chosen)


@pytest.mark.parametrize(("workers", "extra"), [("1", {}), ("2", {}), ("1", {"cache": False})])
def test_a_client_that_loses_patience_gets_the_image_that_is_being_generated_for_it(own_servers, workers, extra):
    server = own_servers(WORKERS=workers)
    with impatient(server) as client:
        answer = client.images.generate(prompt="[step=0.1] again", size="64x64", extra_body=SLOW | extra)
    assert opened(answer.data[0].b64_json).size == (64, 64)
    server.wait_until_idle()
    assert_generated_once(server, "again", answer.data[0].seed)


def test_the_async_client_is_no_different(own_server):
    async def generate() -> int:
        async with openai.AsyncOpenAI(
            base_url=own_server.url + "/v1", api_key="unused", timeout=1.0, max_retries=2
        ) as client:
            answer = await client.images.generate(prompt="[step=0.1] async", size="64x64", extra_body=SLOW)
            return answer.data[0].seed

    seed = run_in_own_loop(generate())
    own_server.wait_until_idle()
    assert_generated_once(own_server, "async", seed)


def test_a_form_is_the_same_request_though_its_boundary_is_another(own_server):
    with impatient(own_server) as client:
        answer = client.images.edit(
            image=one_colour(), prompt="[step=0.1] edited", extra_body=SLOW | {"strength": 1.0, "seed": None}
        )
    assert answer.size == "96x64"
    own_server.wait_until_idle()
    assert_generated_once(own_server, "edited", answer.data[0].seed)


def test_the_server_counts_the_patience_of_all_tries(own_server):
    # Once it knows what such an image takes, it could refuse whoever waits for less.
    with impatient(own_server) as client:
        for _ in range(2):
            answer = client.images.generate(
                prompt="[step=0.1] known", size="64x64", extra_body={"num_inference_steps": 20}
            )
            assert answer.size == "64x64"
    own_server.wait_until_idle()
    assert len({job["seed"] for job in jobs_with(own_server, "known")}) == 2


def test_the_same_request_later_is_a_new_image(own_server):
    with impatient(own_server) as client:
        seeds = [
            client.images.generate(
                prompt="[step=0.1] twice", size="64x64", extra_body={"num_inference_steps": 15}
            ).data[0].seed
            for _ in range(2)
        ]  # fmt: skip
    assert seeds[0] != seeds[1]


def test_equal_requests_at_the_same_time_keep_their_own_images_through_retries(own_servers):
    server = own_servers(MAX_QUEUE="2")

    async def generate() -> list[int]:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=20) as client:
            answers = await asyncio.gather(
                *(client.images.generate(prompt="[step=0.02] equal", size="64x64") for _ in range(4))
            )
            return [answer.data[0].seed for answer in answers]

    seeds = run_in_own_loop(generate())
    assert len(set(seeds)) == 4
    # Two of them were refused at first: there was something to mix up.
    assert any(job["code"] == "queue_full" for job in jobs_with(server, "equal"))


def post(server: Server, prompt: str, retry: int | None, **options: Any) -> requests.Response:
    headers = {"Connection": "close"} | ({} if retry is None else {"X-Stainless-Retry-Count": str(retry)})
    body = {"prompt": prompt, "size": "64x64", **SLOW}
    options = {"timeout": 30} | options
    return requests.post(f"{server.url}/v1/images/generations", json=body, headers=headers, **options)


def test_only_a_client_that_may_come_back_is_worked_for_after_it_left(quiet_server):
    for retry, expected in ((None, "cancelled"), (0, "completed")):
        prompt = f"[step=0.05] left with {retry}"
        with pytest.raises(requests.ReadTimeout):
            post(quiet_server, prompt, retry, timeout=0.5)
        quiet_server.wait_until_idle()
        assert [job["state"] for job in jobs_with(quiet_server, prompt)] == [expected]


def test_a_client_of_the_sdk_that_is_stopped_frees_the_device_at_once(quiet_server):
    prompt = "[step=0.05] stopped by hand"
    body = {"prompt": prompt, "size": "64x64", "num_inference_steps": 100}
    headers = {"X-Stainless-Retry-Count": "0", "X-Stainless-Read-Timeout": "60"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{quiet_server.url}/v1/images/generations", json=body, headers=headers, timeout=1)
    quiet_server.wait_for(lambda: jobs_with(quiet_server, prompt)[0]["state"] == "cancelled", "the end", 5)


def test_another_client_with_the_same_request_is_no_retry(quiet_server):
    with pytest.raises(requests.ReadTimeout):
        post(quiet_server, "[step=0.02] a stranger", 0, timeout=0.3)
    quiet_server.wait_until_idle()
    stranger = requests.post(
        f"{quiet_server.url}/v1/images/generations", json={"prompt": "[step=0.02] a stranger", "size": "64x64", **SLOW},
        headers={"X-Stainless-Retry-Count": "1", "Authorization": "Bearer another", "Connection": "close"}, timeout=30,
    )  # fmt: skip
    own = post(quiet_server, "[step=0.02] a stranger", 1)
    first = jobs_with(quiet_server, "a stranger")[0]["seed"]
    assert own.json()["data"][0]["seed"] == first
    assert stranger.json()["data"][0]["seed"] != first


@pytest.mark.parametrize("count", ["", "-1", "many", "9" * 30])
def test_a_retry_count_that_is_no_number_is_as_good_as_none(fake_server, count):
    answer = requests.post(
        f"{fake_server.url}/v1/images/generations", json={"prompt": "odd", "size": "64x64"},
        headers={"X-Stainless-Retry-Count": count, "Connection": "close"}, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 200


def test_what_would_fail_again_is_not_sent_again(quiet_server):
    with impatient(quiet_server, timeout=30.0) as client:
        for prompt in ("tried once [fail]", "tried once [oom]"):
            with pytest.raises(openai.InternalServerError):
                client.images.generate(prompt=prompt)
    assert [job["state"] for job in jobs_with(quiet_server, "tried once")] == ["failed", "failed"]


def test_a_loading_server_is_waited_for_and_then_generates(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="1")
    with impatient(server, max_retries=0, timeout=10.0) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            client.models.list()
        assert (raised.value.status_code, raised.value.code) == (503, "loading")
        assert int(raised.value.response.headers["Retry-After"]) >= 1
        assert client.images.generate(prompt="early", size="64x64").size == "64x64"


def test_a_server_whose_model_cannot_load_answers_503(own_servers):
    server = own_servers(ready=False, FAKE_LOAD_FAIL="The weights are gone.")
    server.wait_for(lambda: server.health()["status"] == "degraded", "the failure")
    with impatient(server, max_retries=0, timeout=10.0) as client:
        for options in ({}, {"stream": True}):
            with pytest.raises(openai.InternalServerError, match="The weights are gone") as raised:
                client.images.generate(prompt="x", **options)
            assert (raised.value.status_code, raised.value.code) == (503, "engine_unavailable")


def test_a_stopping_server_answers_503(own_servers):
    server = own_servers(GRACEFUL_TIMEOUT="2")
    with impatient(server, max_retries=0, timeout=30.0) as client:
        generating = in_background(
            client.images.generate, prompt="[step=0.2] endless", extra_body={"num_inference_steps": 150}
        )
        server.wait_until_active()
        assert server.stop() == 0
        with pytest.raises(openai.InternalServerError, match="stopping") as raised:
            generating.result(10)
    assert (raised.value.status_code, raised.value.code) == (503, "draining")


def test_a_client_of_a_server_that_restarts_is_told_when_to_come_back_and_its_tries_then_share_one_image(own_servers):
    body = {"prompt": "[step=0.1] restarted", "size": "64x64", "num_inference_steps": 30}
    headers = {"Idempotency-Key": "one client"}
    server = own_servers(GRACEFUL_TIMEOUT="2")
    waiting = in_background(server.post, body, headers=headers)
    server.wait_until_active()
    assert server.stop() == 0
    told = waiting.result(5)
    assert (told.status_code, told.json()["code"]) == (503, "draining")
    assert int(told.headers["Retry-After"]) >= 1
    restarted = own_servers(STATE_DIR=str(server.folder / "state"))
    first = in_background(restarted.post, body, headers=headers)
    restarted.wait_until_active()
    second = restarted.post(body, headers=headers)
    assert (first.result(10).status_code, second.status_code) == (200, 200)
    assert first.result(0).content == second.content
    assert_generated_once(restarted, "restarted", int(second.headers["X-Seed"]))


def test_an_unknown_model_is_not_found(fake_server):
    with impatient(fake_server, timeout=10.0) as client, pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("no-such-model")
    assert (raised.value.code, raised.value.param, raised.value.type) == (
        "model_not_found", "model", "invalid_request_error",
    )  # fmt: skip
    assert raised.value.request_id


def test_a_neighbour_is_not_touched_by_a_client_that_leaves_for_good(quiet_server):
    with quiet_server.connect() as connection:
        body = b'{"prompt": "[step=0.05] gone for good", "num_inference_steps": 100}'
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        quiet_server.wait_until_active()
        neighbour = in_background(quiet_server.generate, "a neighbour", seed=5)
        quiet_server.wait_for(lambda: quiet_server.health()["queue_length"] == 1, "the neighbour")
        connection.shutdown(socket.SHUT_RDWR)
    assert neighbour.result(30).headers["X-Seed"] == "5"
    assert [job["state"] for job in jobs_with(quiet_server, "gone for good")] == ["cancelled"]
