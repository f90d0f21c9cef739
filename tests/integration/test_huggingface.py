"""A script for `huggingface_hub.InferenceClient` works by changing one URL: proved with the real client."""

import asyncio
import json
import logging

import pytest
import requests
from huggingface_hub import AsyncInferenceClient, ImageToImageTargetSize, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, InferenceTimeoutError
from PIL import Image

from tests.support.images import BLUE, file_of, opened
from tests.support.own_loop import run_in_own_loop

CLOSE = {"Connection": "close"}


@pytest.fixture
def client(fake_server):
    return InferenceClient(model=fake_server.url + "/models/fake", headers=CLOSE)


def post(server, path="/models/fake", **options):
    options["headers"] = CLOSE | options.get("headers", {})
    return requests.post(server.url + path, timeout=60, **options)


def colours_of(image):
    return {colour for _, colour in image.convert("RGB").getcolors()}


def an_image(size=(96, 64), colour=BLUE):
    return Image.new("RGB", size, colour)


def test_a_text_becomes_an_image_of_the_size_asked_for(client):
    image = client.text_to_image("a red circle", width=320, height=256, seed=7)
    assert (image.format, image.size) == ("PNG", (320, 256))
    # The fake engine's images are of the seed's colour; an overlay would add others.
    assert colours_of(image) == {(7, 7, 7)}


def test_without_a_size_and_a_seed_it_is_the_usual_size_and_another_image_every_time(client):
    first, second = (client.text_to_image("a red circle") for _ in range(2))
    assert first.size == second.size == (512, 512)
    assert first.info["parameters"] != second.info["parameters"]


@pytest.mark.parametrize("path", ["", "/", "/models/fake", "/models/auto"])
def test_the_address_may_name_the_model_or_leave_it_to_the_server(fake_server, path):
    client = InferenceClient(base_url=fake_server.url + path, headers=CLOSE)
    assert client.text_to_image("by address", width=64, height=64).size == (64, 64)


def test_the_parameters_are_those_of_the_generation_and_guidance_is_true_cfg(client, fake_server):
    client.text_to_image(
        "every parameter [mark 1]", negative_prompt="blurry", num_inference_steps=3, guidance_scale=2.5, seed=11
    )
    job = fake_server.job_with("[mark 1]")
    assert (job["dialect"], job["state"]) == ("huggingface", "completed")
    # Nothing is appended to the prompt.
    assert (job["prompt"], job["steps"], job["seed"]) == ("every parameter [mark 1]", 3, 11)
    image = client.text_to_image("every parameter [mark 1]", guidance_scale=2.5, negative_prompt="blurry", seed=11)
    assert "CFG scale: 2.5" in image.info["parameters"]
    assert "Negative prompt: blurry" in image.info["parameters"]


def test_true_cfg_scale_goes_before_guidance_scale(client):
    image = client.text_to_image("two scales", guidance_scale=2.5, extra_body={"true_cfg_scale": 1.5})
    assert "CFG scale: 1.5" in image.info["parameters"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/jpg", "JPEG"), ("image/webp", "WEBP"), ("*/*", "PNG"),
        ("image/*;q=0.5, image/webp", "WEBP"), ("application/json", "PNG"),
    ],
)  # fmt: skip
def test_accept_chooses_the_format(fake_server, accept, kind):
    client = InferenceClient(model=fake_server.url, headers=CLOSE | {"Accept": accept})
    answer = post(fake_server, json={"inputs": "a format"}, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    assert opened(answer.content).format == kind
    assert client.text_to_image("a format").format == kind


def test_a_format_among_the_parameters_goes_before_accept(client):
    assert client.text_to_image("a format", extra_body={"output_format": "jpeg"}).format == "JPEG"


def test_an_answer_says_which_seed_it_has_and_under_which_id_it_is_a_job(fake_server):
    answer = post(fake_server, json={"inputs": "with headers", "parameters": {"seed": 5}})
    assert (answer.headers["X-Seed"], answer.headers["X-Cache"]) == ("5", "miss")
    assert float(answer.headers["X-Inference-Time"]) >= 0
    job = fake_server.get(f"/v1/jobs/{answer.headers['X-Request-Id']}").json()
    assert job["seeds"] == [5]


@pytest.mark.parametrize("kind", ["bytes", "file", "path as text"])
def test_an_image_and_a_prompt_become_an_image(client, tmp_path, kind):
    path = tmp_path / "image.png"
    path.write_bytes(file_of(an_image()))
    given = {"bytes": path.read_bytes(), "file": path, "path as text": str(path)}[kind]
    generated = client.image_to_image(given, prompt="a yellow star")
    assert generated.size == (96, 64)
    assert colours_of(generated) == {BLUE}  # the fake engine leaves the source as it is


def test_a_target_size_is_the_size_of_the_answer(client):
    size = ImageToImageTargetSize(width=128, height=72)
    generated = client.image_to_image(file_of(an_image()), prompt="larger", target_size={"width": 128, "height": 72})
    assert generated.size == (size.width, size.height)


def test_strength_says_how_much_is_generated(client, fake_server):
    client.image_to_image(
        file_of(an_image()), prompt="half [mark 2]", strength=0.5, num_inference_steps=10, guidance_scale=3.0
    )
    assert fake_server.job_with("[mark 2]")["total_steps"] == 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_alone_is_sent_raw_and_becomes_a_variation(fake_server, kind):
    client = InferenceClient(model=fake_server.url, headers=CLOSE)
    generated = client.image_to_image(file_of(an_image(), kind))
    assert generated.size == (96, 64)


@pytest.mark.parametrize("content_type", [None, "image/png", "application/octet-stream", "text/plain"])
def test_a_raw_image_is_one_whatever_its_content_type_says(fake_server, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = post(fake_server, data=file_of(an_image()), headers=headers)
    assert opened(answer.content).size == (96, 64)
    assert answer.headers["X-Warnings"] == "Without a prompt, a variation of the image is generated."


def test_an_image_with_parameters_but_no_prompt_is_no_prompt_itself(client):
    generated = client.image_to_image(file_of(an_image()), negative_prompt="blurry")
    assert generated.size == (96, 64)
    assert colours_of(generated) == {BLUE}


def test_json_is_json_whatever_its_content_type_says(fake_server):
    answer = post(fake_server, data=json.dumps({"inputs": "typed wrongly"}).encode(), headers={"Content-Type": "x/y"})
    assert opened(answer.content).size == (512, 512)


def test_a_long_text_is_no_image(client):
    assert client.text_to_image("a very long prompt, " * 20, width=64, height=64).size == (64, 64)


def test_ignored_parameters_are_warnings_that_the_client_logs(client, fake_server, caplog):
    fields = {"sampler_of_mine": 1, "seed": 1}
    answer = post(fake_server, json={"inputs": "warned", "parameters": fields, "options": {}})
    assert answer.headers["X-Warnings"] == (
        "'options' is not a parameter and was ignored. | 'sampler_of_mine' is not a parameter and was ignored."
    )
    with caplog.at_level(logging.WARNING):
        client.text_to_image("warned", extra_body={"sampler_of_mine": 1})
    logged = [record.message for record in caplog.records if record.name.startswith("huggingface_hub")]
    assert set(logged) == set(answer.headers["X-Warnings"].split(" | ")[1:])


def test_a_scheduler_is_the_models_or_is_refused(client, fake_server):
    client.text_to_image("generated", scheduler="FakeScheduler")
    refused = post(fake_server, json={"inputs": "not generated", "parameters": {"scheduler": "DDIM"}})
    assert refused.status_code == 422
    assert refused.json()["param"] == "scheduler"
    assert "known are FakeScheduler" in refused.json()["error"]


def test_a_name_that_no_header_can_carry_is_still_warned_of(fake_server):
    answer = post(fake_server, json={"inputs": "warned", "parameters": {"größe\n✓": 1}})
    assert answer.status_code == 200
    assert "gr\\xf6\\xdfe\\n\\u2713" in answer.headers["X-Warnings"]


def test_strength_without_an_image_is_a_warning(fake_server):
    answer = post(fake_server, json={"inputs": "warned", "parameters": {"strength": 0.5}})
    assert answer.headers["X-Warnings"] == "strength is ignored without an image."


def test_another_model_is_not_found(fake_server):
    client = InferenceClient(model=fake_server.url + "/models/stabilityai/sdxl-turbo", headers=CLOSE)
    with pytest.raises(
        HfHubHTTPError, match=r"'stabilityai/sdxl-turbo' is not available; this server serves fake"
    ) as told:
        client.text_to_image("x")
    assert told.value.response.status_code == 404
    assert int(told.value.request_id) > 0
    assert told.value.response.json()["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 1000}, "num_inference_steps"),
        ({"guidance_scale": 99.0}, "guidance_scale"),
        ({"width": 320}, "height"),
        ({"width": 10, "height": 64}, "width"),
        ({"seed": -2}, "seed"),
        ({"n": 2}, "n"),
        ({"target_size": {"width": 64, "height": 64}, "width": 64, "height": 64}, "target_size"),
        ({"target_size": {"width": 64}}, "target_size"),
        ({"strength": 2.0}, "strength"),
        ({"output_format": "tiff"}, "output_format"),
    ],
)
def test_a_wrong_parameter_is_named_in_the_clients_own_exception(client, parameters, param):
    with pytest.raises(HfHubHTTPError, match=param) as told:
        client.text_to_image("x", extra_body=parameters)
    assert told.value.response.status_code == 422
    assert told.value.response.json()["param"] == param


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, "inputs"),
        (b"{", 400, None),
        (b"\x89PNG\r\n\x1a\n broken", 422, "inputs"),
        (b"just a text", 422, "inputs"),
        (b'{"inputs": ""}', 400, "inputs"),
        (b'{"inputs": null}', 422, "inputs"),
        (b'{"parameters": {}}', 422, "inputs"),
        (b'{"inputs": ["a", "b"]}', 422, "inputs"),
        (b'{"inputs": "x", "parameters": []}', 422, "parameters"),
        (b'{"inputs": "no base64!", "parameters": {"prompt": "x"}}', 422, "inputs"),
        (b'{"inputs": "%s"}' % (b"A" * 100), 422, "inputs"),
        (b'{"inputs": "http://127.0.0.1/x.png", "parameters": {"prompt": "x"}}', 422, "inputs"),
    ],
)
def test_a_body_that_says_nothing_is_refused_by_name(fake_server, body, status, param):
    answer = post(fake_server, data=body)
    assert (answer.status_code, answer.json()["param"]) == (status, param)
    assert isinstance(answer.json()["error"], str)
    assert int(answer.headers["X-Request-Id"]) > 0


@pytest.mark.parametrize("parameters", [None, {}, {"seed": None, "guidance_scale": None, "n": None, "prompt": None}])
def test_null_leaves_out(fake_server, parameters):
    answer = post(fake_server, json={"inputs": "nothing more", "parameters": parameters})
    assert opened(answer.content).size == (512, 512)
    assert "X-Warnings" not in answer.headers


def test_json_that_is_no_object_is_refused(fake_server):
    answer = post(fake_server, json="just a text")
    assert (answer.status_code, answer.json()["error"]) == (400, "The body must be a JSON object.")


def test_an_empty_prompt_is_the_clients_bad_request(client):
    with pytest.raises(BadRequestError, match="inputs is empty"):
        client.text_to_image(" ")


def test_the_sentence_of_a_failure_is_in_the_clients_exception(client):
    with pytest.raises(HfHubHTTPError, match="The fake engine was told to fail") as told:
        client.text_to_image("[fail]", extra_body={"unheard_of": 1})
    assert told.value.response.status_code == 500
    assert told.value.response.json()["warnings"] == ["'unheard_of' is not a parameter and was ignored."]


def test_an_address_that_only_generates_answers_other_methods_in_this_dialect(fake_server):
    answer = fake_server.ask("PUT", "/models/fake", timeout=20)
    assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert isinstance(answer.json()["error"], str)


def test_the_root_still_lists_the_api(fake_server):
    listed = fake_server.get("/").json()["endpoints"]
    assert {"/", "/models/<path:name>"} <= {route["path"] for route in listed if "POST" in route["methods"]}


def test_the_client_finds_the_server_healthy(fake_server):
    client = InferenceClient(model=fake_server.url, provider="hf-inference", headers=CLOSE)
    assert client.health_check() is True
    assert client.get_endpoint_info()["model_name"] == "fake"


def test_a_body_over_the_limit_is_refused_in_this_dialect(own_servers):
    server = own_servers(MAX_BODY_MB="1")
    answer = post(server, data=bytes(2_000_000))
    assert answer.status_code == 413
    assert answer.json()["error"] == "The request body is larger than 1 MiB (MAX_BODY_MB)."


def test_a_full_queue_is_429_and_says_when_to_come_back(own_servers):
    server = own_servers(MAX_QUEUE="1")
    busy = server.start_generating("[step=0.05]", num_inference_steps=40)
    server.wait_until_active()
    with pytest.raises(HfHubHTTPError, match="MAX_QUEUE") as told:
        InferenceClient(model=server.url, headers=CLOSE).text_to_image("one too many")
    assert told.value.response.status_code == 429
    assert int(told.value.response.headers["Retry-After"]) >= 1
    assert busy.result(30).ok


def test_a_broken_model_is_503_with_its_reason(own_servers):
    server = own_servers(ready=False, FAKE_LOAD_FAIL="The fake model is broken.")
    server.wait_for(lambda: server.health()["status"] == "degraded", "the failure")
    with pytest.raises(HfHubHTTPError, match="The fake model is broken") as told:
        InferenceClient(model=server.url, headers=CLOSE).text_to_image("x")
    assert told.value.response.status_code == 503


def test_a_thousand_unknown_parameters_are_no_thousand_headers(fake_server):
    unknown = {f"unknown{number}": 1 for number in range(1000)}
    answer = post(fake_server, json={"inputs": "x", "parameters": unknown | {"width": 64, "height": 64}})
    assert answer.status_code == 200
    assert len(answer.raw.headers.getlist("X-HF-Warning")) == 20


def test_an_engine_that_comes_back_is_503_with_an_estimated_time(own_server):
    answer = post(own_server, json={"inputs": "[die]"})
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    assert answer.json()["estimated_time"] == int(answer.headers["Retry-After"])


def test_a_client_that_hangs_up_cancels_its_image_and_no_other(quiet_server):
    body = json.dumps({"inputs": "[step=0.05] given up here", "parameters": {"num_inference_steps": 100}}).encode()
    with quiet_server.raw_generation(body, path="/models/fake"):
        quiet_server.wait_until_active()
        neighbour = quiet_server.start_generating("a neighbour", seed=9)
        quiet_server.wait_for(lambda: quiet_server.health()["queue_length"] == 1, "the neighbour")
    quiet_server.wait_for(lambda: quiet_server.job_with("given up here")["state"] == "cancelled", "the cancel")
    assert neighbour.result(30).headers["X-Seed"] == "9"


def test_a_client_that_loses_its_patience_is_told_so_and_frees_the_engine(quiet_server):
    client = InferenceClient(model=quiet_server.url, timeout=0.5, headers=CLOSE)
    with pytest.raises(InferenceTimeoutError):
        client.text_to_image("[step=0.1] too slow", num_inference_steps=100)
    quiet_server.wait_for(lambda: quiet_server.job_with("too slow")["state"] == "cancelled", "the cancel")


def test_the_async_client_generates_several_at_once(fake_server):
    async def generate():
        async with AsyncInferenceClient(model=fake_server.url, headers=CLOSE) as client:
            return await asyncio.gather(
                *(client.text_to_image(f"number {n}", width=64, height=64, seed=n) for n in range(4))
            )

    assert [colours_of(image) for image in run_in_own_loop(generate())] == [{(n, n, n)} for n in range(4)]


# The client's own: it hands raw bytes to httpx in a way of yesterday.
@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
def test_the_async_client_generates_after_an_image(fake_server):
    async def generate():
        async with AsyncInferenceClient(model=fake_server.url, headers=CLOSE) as client:
            return await client.image_to_image(file_of(an_image()), prompt="a yellow star")

    assert colours_of(run_in_own_loop(generate())) == {BLUE}


def test_the_demo_model_generates_what_the_client_asks_for(demo_server):
    client = InferenceClient(model=demo_server.url + "/models/auto", headers=CLOSE)
    generated = client.text_to_image(
        "a red circle on a blue background", num_inference_steps=8, guidance_scale=4.0, seed=3
    )
    red, _, blue = generated.resize((32, 32)).getpixel((1, 1))
    assert blue > red
    changed = client.image_to_image(file_of(generated), prompt="a yellow circle on a blue background", strength=0.9)
    assert changed.size == (512, 512)
