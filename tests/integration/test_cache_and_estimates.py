"""The same request costs the device nothing twice; what an image will cost is known before."""

import statistics
import time

import pytest
import requests

from tests.support.server import in_background


def ask(server, prompt, **fields):
    headers = fields.pop("headers", None)
    return server.post({"prompt": prompt, **fields}, headers=headers)


def last_generated(server):
    """Return the last job that the engine had, not the cache."""
    return max(job["id"] for job in server.get("/v1/jobs").json()["data"] if job["cache"] != "hit")


def test_the_same_request_is_a_hit_with_the_same_bytes_and_the_engine_rests(fake_server):
    first = ask(fake_server, "the same image twice")
    last = last_generated(fake_server)
    second = ask(fake_server, "the same image twice")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "hit")
    assert second.content == first.content
    assert second.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert last_generated(fake_server) == last


@pytest.mark.alone
def test_a_hit_takes_a_fraction_of_a_generation(fake_server):
    slow = time.monotonic()
    ask(fake_server, "[step=0.02] a slow one")
    slow = time.monotonic() - slow
    times = []
    for _ in range(9):
        began = time.monotonic()
        assert ask(fake_server, "[step=0.02] a slow one").headers["X-Cache"] == "hit"
        times.append(time.monotonic() - began)
    assert statistics.median(times) < slow / 10


def test_a_hit_can_be_saved_to_a_file_of_its_own(fake_server):
    paths = {ask(fake_server, "saved twice", save_to_file=True).json()["file_path"] for _ in range(2)}
    assert len(paths) == 2


def test_another_seed_format_or_overlay_is_another_request(fake_server):
    ask(fake_server, "one of many")
    for change in ({"seed": 43}, {"output_format": "jpeg"}, {"add_overlay": False}, {"num_inference_steps": 3}):
        assert ask(fake_server, "one of many", **change).headers["X-Cache"] == "miss"


def test_cache_false_generates_again(fake_server):
    ask(fake_server, "generated again")
    assert ask(fake_server, "generated again", cache=False).headers["X-Cache"] == "miss"


def test_a_generation_that_failed_is_no_hit_and_is_generated_again(fake_server):
    generated = []
    for _ in range(2):
        assert ask(fake_server, "[fail] the same twice").status_code == 500
        generated.append(last_generated(fake_server))
    assert generated[0] < generated[1]


def test_identical_requests_in_flight_are_generated_once(own_servers):
    server = own_servers()
    answers = [in_background(ask, server, "[step=0.05] together", add_overlay=False) for _ in range(6)]
    answers = [answer.result(60) for answer in answers]
    assert sorted(answer.headers["X-Cache"] for answer in answers) == ["join"] * 5 + ["miss"]
    assert len({answer.content for answer in answers}) == 1


def test_a_repeated_idempotency_key_gives_the_same_image_even_of_a_random_seed(fake_server):
    headers = {"Idempotency-Key": "order-1"}
    first = ask(fake_server, "surprise me", seed=None, headers=headers)
    second = ask(fake_server, "surprise me", seed=None, headers=headers)
    assert first.headers["X-Seed"] == second.headers["X-Seed"]
    assert second.headers["X-Cache"] == "hit"
    other = ask(fake_server, "surprise me", seed=None, headers={"Idempotency-Key": "order-2"})
    assert other.headers["X-Seed"] != first.headers["X-Seed"]


def test_an_idempotency_key_of_another_request_is_refused(fake_server):
    headers = {"Idempotency-Key": "order-3"}
    assert ask(fake_server, "the first", headers=headers).ok
    refused = ask(fake_server, "the second", headers=headers)
    assert refused.status_code == 422
    assert refused.json()["param"] == "Idempotency-Key"


def test_an_estimate_tells_what_would_be_generated_and_generates_nothing(fake_server):
    ask(fake_server, "before the estimate")
    last = last_generated(fake_server)
    body = {"prompt": "an estimate", "aspect_ratio": "4:3", "n": 2, "guidance_scale": 3.0}
    answer = fake_server.ask("POST", "/v1/estimate", json=body, timeout=20)
    estimate = answer.json()
    assert answer.status_code == 200
    assert (estimate["width"], estimate["height"], estimate["n"]) == (1472, 1140, 2)
    assert estimate["classifier_free_guidance"] is True
    assert estimate["prompt"].endswith("cinematic composition.")
    assert estimate["cache_hit"] is False
    assert estimate["expected_seconds"] >= 0
    assert any("guidance_scale" in warning for warning in estimate["warnings"])
    assert last_generated(fake_server) == last
    assert fake_server.ask("POST", "/v1/estimate", json={"prompt": "x", "n": 0}, timeout=20).status_code == 422


@pytest.mark.alone
def test_the_estimate_of_a_device_comes_true(own_servers):
    server = own_servers()
    for steps in (2, 10, 5, 20, 8, 3, 15, 12, 6, 18) * 2:
        ask(server, "[step=0.01]", num_inference_steps=steps, cache=False, add_overlay=False)
    body = {"prompt": "[step=0.01]", "num_inference_steps": 20, "cache": False}
    estimate = server.ask("POST", "/v1/estimate", json=body, timeout=20).json()
    began = time.monotonic()
    inference_time = float(server.post(body).headers["X-Inference-Time"])
    assert time.monotonic() - began >= inference_time
    assert estimate["learnt"] is True
    assert abs(estimate["expected_seconds"] / inference_time - 1) < 0.5
    assert estimate["median_error"] < 0.5


@pytest.mark.alone
def test_a_client_that_would_not_wait_long_enough_is_refused_at_once(own_servers):
    server = own_servers()
    ask(server, "[step=0.1] teach", num_inference_steps=20)
    began = time.monotonic()
    refused = ask(server, "[step=0.1] hurry", num_inference_steps=20, timeout=0.5)
    assert time.monotonic() - began < 0.5
    assert refused.status_code == 429
    assert refused.json()["code"] == "would_time_out"
    assert int(refused.headers["Retry-After"]) >= 1
    sdk = ask(server, "[step=0.1] hurry", num_inference_steps=20, headers={"X-Stainless-Read-Timeout": "0.5"})
    assert sdk.status_code == 429


def test_a_joined_order_is_found_in_the_cache_in_its_own_format(own_servers):
    server = own_servers()
    first = in_background(ask, server, "[step=0.05] two formats", output_format="jpeg")
    server.wait_until_active()
    assert ask(server, "[step=0.05] two formats").headers["X-Cache"] == "join"
    assert first.result(30).ok
    assert ask(server, "[step=0.05] two formats").headers["X-Cache"] == "hit"


def test_a_key_that_was_sent_while_the_model_loaded_works_afterwards(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="1.5")
    headers = {"Idempotency-Key": "early"}
    early = ask(server, "early bird", seed=None, headers=headers)
    again = ask(server, "early bird", seed=None, headers=headers)
    assert (early.status_code, again.status_code) == (200, 200)
    assert again.headers["X-Cache"] == "hit"
    assert again.headers["X-Seed"] == early.headers["X-Seed"]


def test_a_keyed_order_whose_client_timed_out_is_found_by_its_retry(own_servers):
    server = own_servers()
    body = {"prompt": "[step=0.1] patience", "seed": None}
    with pytest.raises(requests.ReadTimeout):
        server.post(body, headers={"Idempotency-Key": "retry"}, timeout=0.5)
    retried = server.post(body, headers={"Idempotency-Key": "retry"})
    assert retried.headers["X-Cache"] in ("join", "hit")
    assert server.health()["total_tasks"] == 2
    assert server.health()["engine_restarts"] == 0


def test_an_estimate_tells_the_tokens_that_would_be_read_and_what_would_be_cut(demo_server):
    def estimate(prompt):
        body = {"prompt": prompt, "positive_magic": False}
        return demo_server.ask("POST", "/v1/estimate", json=body, timeout=20).json()

    short = estimate("a red circle")
    assert 2 <= short["prompt_tokens"] <= 6
    assert short["image_tokens"] == 64
    long = estimate("circle " * 1400)
    assert long["prompt_tokens"] == 1024
    assert any("the model read the first 1024" in warning for warning in long["warnings"])


def test_the_memory_of_an_image_is_measured_and_then_expected(demo_server):
    body = {"prompt": "a green square", "size": "768x768", "num_inference_steps": 2, "cache": False}
    answer = demo_server.post(body)
    assert answer.ok, answer.text
    job = demo_server.get(f"/v1/jobs/{answer.headers['X-Request-Id']}").json()
    model = demo_server.get("/info").json()["gpu_memory_mb"]
    assert model / 2 < job["vram_peak_mb"] < 20 * model

    def expected(size: str) -> float:
        sent = body | {"size": size}
        return demo_server.ask("POST", "/v1/estimate", json=sent, timeout=20).json()["memory_mb"]

    assert expected("768x768") >= job["vram_peak_mb"]
    assert expected("1536x1536") > expected("768x768")
