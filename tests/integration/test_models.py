"""Several models behind one address: named by requests, loaded, chosen, unloaded, exchanged where there is no room."""

import json
import os
import re
import shutil
import signal

import openai
import pytest
import requests
from websockets.sync.client import connect

from tests.support.automatic1111_client import Automatic1111Client, info_of
from tests.support.full_mode import needs_full_mode
from tests.support.images import opened
from tests.support.named_models import write_names

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    return write_names(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def server(servers, names):
    """A server with the demo model, and room for others."""
    return servers(engine="preloaded", MODELS_FILE=str(names), MAX_PIXELS="65536")


def ask(server, action, model, **fields):
    return requests.post(f"{server.url}/v1/models/{action}", json={"model": model} | fields, timeout=120)


def models_of(server):
    listed = server.get("/v1/models").json()["data"]
    return {model["id"]: (model["loaded"], model["default"]) for model in listed if model["alias_of"] is None}


def generated_by(answer):
    """Return the size of an image and the model that its metadata names."""
    image = opened(answer)
    return image.size, image.text["parameters"].rpartition("Model: ")[2].split(",")[0]


def test_a_request_that_names_a_model_is_generated_by_it_and_others_by_the_usual_one(server):
    assert generated_by(server.generate("a red circle", model="tiny-sd")) == ((128, 64), "tiny-sd")
    assert generated_by(server.generate("a red circle", size="64x64")) == ((64, 64), "demo")
    assert models_of(server)["tiny-sd"] == (True, False)
    assert server.health()["generator_info"]["model_id"] == "demo"


def test_both_generate_at_the_same_time(server):
    ask(server, "load", "tiny-sd", default=False)
    long = server.start_generating("a red circle", size="256x256", num_inference_steps=60)
    server.wait_until_active()
    short = server.generate("a red circle", model="tiny-sd")
    assert short.status_code == 200
    assert not long.done(), "a short job of another model overtakes"
    assert generated_by(long.result())[1] == "demo"


def test_a_model_is_unloaded_and_loaded_again_by_the_next_request(server):
    ask(server, "load", "tiny-sd", default=False)
    told = ask(server, "unload", "tiny-sd").json()
    assert (told["id"], told["loaded"], told["job"]) == ("tiny-sd", False, None)
    assert models_of(server)["tiny-sd"] == (False, False)
    assert generated_by(server.generate("a red circle", model="tiny-sd"))[1] == "tiny-sd"


def test_health_tells_when_the_usual_model_is_not_in_memory(server):
    assert server.health()["model_loaded"]
    assert ask(server, "unload", "demo").status_code == 200
    health = server.health()
    told = health["model_loaded"], health["generator_info"]["model_loaded"], health["pipeline_ready"], health["status"]
    assert told == (False, False, True, "healthy"), "the next request loads it"
    assert generated_by(server.generate("a red circle", size="64x64"))[1] == "demo"
    assert server.health()["model_loaded"]


def test_a_model_in_use_is_not_unloaded(server):
    running = server.start_generating("a red circle", size="256x256", num_inference_steps=40)
    server.wait_until_active()
    refused = ask(server, "unload", "demo")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "busy")
    assert running.result().status_code == 200


def test_loading_is_a_job_that_can_be_followed(server):
    ask(server, "load", "tiny-sd", default=False)
    ask(server, "unload", "tiny-sd")
    taken = ask(server, "load", "tiny-sd", default=False, wait=False)
    assert taken.status_code == 202
    number = taken.json()["job"]
    assert taken.headers["Location"] == f"/v1/jobs/{number}"
    with requests.get(f"{server.url}/v1/jobs/{number}/events", stream=True, timeout=60) as events:
        lines = [line.decode() for line in events.iter_lines()]
    assert "event: completed" in lines
    job = server.get(f"/v1/jobs/{number}").json()
    assert (job["kind"], job["model"], job["state"], job["progress"]) == ("model", "tiny-sd", "completed", 1.0)


def test_the_usual_model_is_chosen_and_a_failed_choice_leaves_it(server):
    chosen = ask(server, "load", "tiny-sd").json()
    try:
        assert (chosen["loaded"], chosen["default"]) == (True, True)
        assert server.get("/info").json()["model_name"] == "tiny-sd"
        assert generated_by(server.generate("a red circle")) == ((128, 64), "tiny-sd")
        broken = ask(server, "load", "broken")
        assert broken.status_code == 422
        assert broken.json()["error"]["message"].startswith("broken cannot be loaded: ")
        assert server.get("/info").json()["model_name"] == "tiny-sd"
        assert generated_by(server.generate("a red circle"))[1] == "tiny-sd"
    finally:
        ask(server, "load", "demo")


@pytest.mark.parametrize(
    ("model", "status", "code", "sentence"),
    [
        ("far", 422, "model_unloadable", "are not on the disk; POST /v1/models/load fetches them"),
        ("broken", 422, "model_unloadable", "broken cannot be loaded"),
        ("anybody/anything", 404, "model_not_found", "this server serves demo"),
        ("/etc", 404, "model_not_found", "this server serves demo"),
    ],
)
def test_what_cannot_be_served_is_refused_naming_the_field(server, model, status, code, sentence):
    refused = server.generate("a red circle", model=model)
    told = refused.json()
    assert (refused.status_code, told["code"], told["param"]) == (status, code, "model")
    assert sentence in told["error"]
    assert server.get("/readyz").status_code == 200


def test_the_task_of_a_batch_whose_model_cannot_be_loaded_fails_alone_and_says_why(server):
    tasks = [{"prompt": "a circle", "resolution": "64x64"}, {"prompt": "a circle", "model": "broken"}]
    taken = requests.post(f"{server.url}/batch_submit", json={"requests": tasks}, timeout=60).json()["task_ids"]
    addresses = [f"/status/{task_id}" for task_id in taken]
    server.wait_for(lambda: all(server.get(each).json()["completed_at"] for each in addresses), "both ends", 60)
    whole, broken = (server.get(each).json() for each in addresses)
    assert whole["status"] == "completed"
    assert (broken["status"], broken["code"]) == ("failed", "model_unloadable")
    assert broken["error"].startswith("broken cannot be loaded: ")
    unknown = {"requests": [tasks[0], {"prompt": "a circle", "model": "nobody/nothing"}]}
    refused = requests.post(f"{server.url}/batch_submit", json=unknown, timeout=60)
    assert (refused.status_code, refused.json()["param"]) == (404, "requests[1].model")


def test_loading_what_is_nowhere_says_why(server):
    refused = ask(server, "load", "far")
    assert refused.status_code == 422
    assert "OFFLINE=1 and owner/far is not in models" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "model"), ({"model": ""}, "model"), ({"model": "demo", "vait": True}, "vait"), ({"model_id": 5}, "model_id")],
)
def test_a_wrong_field_of_a_load_is_named(server, body, param):
    refused = requests.post(f"{server.url}/v1/models/load", json=body, timeout=20)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, param)


def test_openais_client_chooses_a_model_and_names_of_openai_mean_the_usual_one(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        ask(server, "load", "tiny-sd", default=False)
        listed = [model.id for model in client.models.list()]
        assert listed[0] == "demo"
        assert "tiny-sd" in listed
        assert "far" not in listed, "it would have to be downloaded"
        assert client.models.retrieve("tiny-sd").owned_by == "stable-diffusion"
        answers = {
            name: client.images.generate(prompt="a red circle", model=name, size="64x64").model_dump()["model"]
            for name in ("tiny-sd", "gpt-image-1")
        }
    assert answers == {"tiny-sd": "tiny-sd", "gpt-image-1": "demo"}


def test_automatic1111s_clients_choose_the_model_for_everybody_or_for_one_request(server):
    client = Automatic1111Client(server)
    titles = [model["title"] for model in client.get("/sdapi/v1/sd-models").json()]
    assert titles[0] == "demo"
    once = client.generate("a red circle", override_settings={"sd_model_checkpoint": "tiny-sd"})
    assert info_of(once)["sd_model_name"] == "tiny-sd"
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "demo"
    try:
        switched = client.post("/sdapi/v1/options", {"sd_model_checkpoint": "tiny-sd"})
        assert (switched.status_code, switched.json()) == (200, None)
        assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "tiny-sd"
        assert info_of(client.generate("a red circle"))["sd_model_name"] == "tiny-sd"
        samplers = [sampler["name"] for sampler in client.get("/sdapi/v1/samplers").json()]
        assert "DPM++ 2M" in samplers
    finally:
        ask(server, "load", "demo")
    refused = client.post("/sdapi/v1/options", {"sd_model_checkpoint": "sd_xl"})
    assert refused.status_code == 404


def test_hugging_faces_address_names_the_model(server):
    answer = requests.post(f"{server.url}/models/tiny-sd", json={"inputs": "a red circle"}, timeout=60)
    assert generated_by(answer)[1] == "tiny-sd"


def test_with_room_for_one_models_are_exchanged_and_nothing_is_lost(servers, names):
    server = servers(engine="real", MODELS_FILE=str(names), MAX_LOADED_MODELS="1", MAX_PIXELS="65536")
    running = [
        server.start_generating("a red circle", model=model, size="64x64", seed=seed)
        for seed, model in enumerate(["demo", "tiny-sd", "demo", "tiny-sd"])
    ]
    assert [generated_by(each.result())[1] for each in running] == ["demo", "tiny-sd", "demo", "tiny-sd"]
    assert sum(loaded for loaded, _ in models_of(server).values()) == 1
    refused = server.generate("a red circle", model="broken")
    assert refused.status_code == 422
    assert generated_by(server.generate("a red circle", size="64x64"))[1] == "demo"


def test_after_an_engines_death_the_chosen_model_answers_again(own_servers, names):
    # A setting for the first model, which the chosen one has never had.
    server = own_servers(engine="real", MODELS_FILE=str(names), MAX_PIXELS="65536", DEFAULT_STEPS="2")
    assert ask(server, "load", "tiny-sd").status_code == 200
    kill_engine(server)
    early = server.start_generating("a red circle")
    server.wait_until_ready()
    assert server.get("/info").json()["model_name"] == "tiny-sd"
    assert generated_by(early.result()) == ((128, 64), "tiny-sd"), "its defaults are remembered"
    assert steps_of(server, server.generate("a red circle")) == ("tiny-sd", 3)
    assert steps_of(server, server.generate("a red circle", model="demo", size="64x64")) == ("demo", 2)


def kill_engine(server):
    os.kill(server.health()["engine_pid"], signal.SIGKILL)
    server.wait_for(lambda: server.health()["engine_restarts"] == 1, "the restart")


def steps_of(server, answer):
    """Return the model that generated an image, and in how many steps."""
    generated_by(answer)
    job = server.get(f"/v1/jobs/{answer.headers['X-Request-Id']}").json()
    return job["model"], job["steps"]


@needs_full_mode
def test_after_an_engines_death_the_first_model_answers_where_the_chosen_one_is_gone(own_servers, tmp_path):
    server = own_servers(engine="real", MODELS_FILE=str(write_names(tmp_path)), MAX_PIXELS="65536")
    assert ask(server, "load", "tiny-sd").status_code == 200
    shutil.rmtree(tmp_path / "sd")
    kill_engine(server)
    server.wait_until_ready()
    assert server.get("/info").json()["model_name"] == "demo"
    assert generated_by(server.generate("a red circle", size="64x64"))[1] == "demo"
    gone = server.generate("a red circle", model="tiny-sd")
    assert (gone.status_code, gone.json()["code"]) == (422, "model_unloadable")


def test_a_usual_model_whose_files_are_gone_fails_its_requests_with_a_sentence(own_servers, tmp_path):
    server = own_servers(engine="real", MODELS_FILE=str(write_names(tmp_path)), MAX_PIXELS="65536")
    assert ask(server, "load", "tiny-sd").status_code == 200
    assert ask(server, "unload", "tiny-sd").status_code == 200
    shutil.rmtree(tmp_path / "sd")
    gone = server.generate("a red circle", timeout=20)
    assert (gone.status_code, gone.json()["code"]) == (422, "model_unloadable")
    assert generated_by(server.generate("a red circle", model="demo", size="64x64"))[1] == "demo"


def test_requests_that_come_before_the_first_model_get_its_own_defaults(own_servers, names):
    server = own_servers(ready=False, engine="real", MODEL="tiny-sd", MODELS_FILE=str(names), MAX_PIXELS="65536")
    early, named = server.start_generating("early"), server.start_generating("named", model="tiny-sd")
    assert server.health()["model_loaded"] is False
    assert generated_by(early.result()) == generated_by(named.result()) == ((128, 64), "tiny-sd")
    assert {job["state"] for job in server.get("/v1/jobs").json()["data"]} == {"completed"}


def test_an_engine_that_dies_over_a_model_comes_back_with_the_usual_one(own_servers, names):
    server = own_servers(MODELS_FILE=str(names), FAKE_LOAD_MODEL_DIE="1")
    refused = server.generate("a red circle", model="tiny-sd")
    assert (refused.status_code, refused.json()["code"]) == (503, "engine_unavailable")
    server.wait_until_ready()
    assert server.generate("a red circle").status_code == 200


# Each is loaded by one test: a request for a model that is known already does not wait before it is a job.
NEVER_LOADED = ("awaited", "timed", "numbered", "left", "stopped", "followed")


@pytest.fixture(scope="module")
def slow_server(servers, tmp_path_factory):
    """A server whose fake engine loads another model for two seconds."""
    file = tmp_path_factory.mktemp("slow") / "names.toml"
    file.write_text("".join(f"[{name}]\nsource = 'owner/{name}'\n" for name in NEVER_LOADED))
    return servers(MODELS_FILE=str(file), FAKE_LOAD_MODEL="2")


def job_with(server, prompt):
    """Return the job of a prompt, None before it is there."""
    return next((job for job in server.get("/v1/jobs").json()["data"] if prompt in job["prompt"]), None)


def test_whoever_waits_for_a_model_longer_than_they_said_is_told_so(slow_server):
    refused = slow_server.generate("a red circle", model="awaited", timeout=0.5)
    assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
    assert slow_server.get("/livez").status_code == 200
    assert slow_server.generate("a red circle", model="awaited").status_code == 200, "the load went on"


def test_the_time_that_a_model_was_loaded_for_is_a_part_of_the_clients_time(slow_server):
    refused = slow_server.generate("[step=0.5] slow", model="timed", num_inference_steps=40, timeout=4)
    assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
    left = re.match(r"The time limit of ([\d.]+) s passed while it was running", refused.json()["error"])
    assert float(left[1]) <= 2.0, "two seconds of the four are gone"


def test_a_request_that_waits_for_its_model_is_a_job_under_its_own_number(slow_server):
    running = slow_server.start_generating("waits for its model", model="numbered")
    slow_server.wait_for(lambda: job_with(slow_server, "waits for its model"), "the job")
    job = job_with(slow_server, "waits for its model")
    told = {name: job[name] for name in ("kind", "state", "prompt", "model", "dialect")}
    assert told == {
        "kind": "generation", "state": "queued", "prompt": "waits for its model", "model": "numbered",
        "dialect": "native",
    }  # fmt: skip
    with requests.get(f"{slow_server.url}/v1/jobs/{job['id']}/events", stream=True, timeout=60) as events:
        lines = [line.decode() for line in events.iter_lines()]
    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert named[:4] == ["model_loading", "model_loaded", "queued", "started"]
    assert named[-1] == "completed"
    assert int(running.result().headers["X-Request-Id"]) == job["id"]
    ended = job_with(slow_server, "waits for its model")
    assert (ended["state"], ended["width"]) == ("completed", 512)


def test_a_client_that_hangs_up_while_its_model_is_loaded_is_let_go_at_once(slow_server):
    body = b'{"prompt": "left its model", "model": "left"}'
    with slow_server.raw_generation(body):
        slow_server.wait_for(lambda: job_with(slow_server, "left its model"), "the job")
    slow_server.wait_for(lambda: job_with(slow_server, "left its model")["state"] == "cancelled", "the end")
    assert "left" not in models_of(slow_server), "before the model was there"
    assert slow_server.generate("a red circle", model="left").status_code == 200


def test_a_request_whose_model_never_comes_is_a_failed_job(server):
    refused = server.generate("a red circle", model="broken")
    job = server.get(f"/v1/jobs/{refused.headers['X-Request-Id']}").json()
    assert (job["state"], job["code"]) == ("failed", "model_unloadable")


def test_a_socket_can_stop_a_request_that_waits_for_its_model_and_goes_on(slow_server):
    with connect(f"ws://127.0.0.1:{slow_server.port}/ws/generate") as connection:
        connection.send(json.dumps({"prompt": "stopped before its model", "model": "stopped"}))
        slow_server.wait_for(lambda: job_with(slow_server, "stopped before its model"), "the job")
        connection.send(json.dumps({"type": "cancel"}))
        assert json.loads(connection.recv(timeout=10))["code"] == "cancelled"
        assert job_with(slow_server, "stopped before its model")["state"] == "cancelled"
        assert "stopped" not in models_of(slow_server), "before the model was there"
        connection.send(json.dumps({"prompt": "a red circle", "size": "64x64"}))
        while (frame := json.loads(connection.recv(timeout=10)))["type"] != "result":
            assert frame["type"] != "error", frame


def test_progress_of_a_load_is_in_startupz_and_in_its_job(slow_server):
    number = ask(slow_server, "load", "followed", default=False, wait=False).json()["job"]
    slow_server.wait_for(lambda: slow_server.get("/startupz").json()["fraction"] == 0.5, "half of the load")
    told = slow_server.get("/startupz").json()
    assert told["reason"] == "followed is loading."
    assert slow_server.get(f"/v1/jobs/{number}").json()["progress"] == 0.5
    slow_server.wait_for(lambda: slow_server.get(f"/v1/jobs/{number}").json()["state"] == "completed", "the load")


def test_a_download_keeps_neither_images_nor_other_models_waiting(own_servers, names):
    server = own_servers(MODELS_FILE=str(names), FAKE_FETCH="far:8")
    number = ask(server, "load", "far", wait=False).json()["job"]
    server.wait_for(lambda: server.get("/startupz").json()["phase"] == "downloading", "the download")
    assert server.generate("a red circle").status_code == 200
    assert ask(server, "load", "tiny-sd", default=False).status_code == 200
    assert server.generate("a red circle", model="tiny-sd").status_code == 200
    told = server.get("/startupz").json()
    assert (told["phase"], told["reason"]) == ("downloading", "far arrives.")
    job = server.get(f"/v1/jobs/{number}").json()
    assert (job["state"], job["progress"] < 1) == ("processing", True)
    server.wait_for(lambda: server.get(f"/v1/jobs/{number}").json()["state"] == "completed", "the load")
    assert models_of(server)["far"] == (True, True)


def test_with_loading_off_no_other_model_is_served(own_servers, names):
    server = own_servers(MODELS_FILE=str(names), MODEL_LOADING="off")
    assert list(models_of(server)) == ["fake"]
    for answer in (server.generate("a red circle", model="tiny-sd"), ask(server, "load", "tiny-sd")):
        assert answer.status_code == 404
        assert "this server serves fake" in json.dumps(answer.json())
