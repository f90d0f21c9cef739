"""LoRAs over HTTP: listed, loaded, used in every dialect and unloaded while hot, and refused in clear sentences."""

import json

import numpy as np
import openai
import pytest
import requests

from tests.support import tiny_models
from tests.support.fake_hub import FakeHub
from tests.support.images import one_colour, opened, pixels
from tests.support.server import SMALL_IMAGES
from tests.support.tiny_loras import save_lora

SMALL = {"size": "64x64", "num_inference_steps": 3, "add_overlay": False, "seed": 5, "positive_magic": False}


@pytest.fixture(scope="module")
def lora_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    pipeline = tiny_models.tiny_qwen_image()
    save_lora(folder, "night", pipeline, seed=1, description="Dark.")
    save_lora(folder, "quick", pipeline, seed=2, num_inference_steps=2, true_cfg_scale=1.0, scheduler="Euler Karras")
    save_lora(folder, "sdxl", tiny_models.tiny_stable_diffusion_xl())
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    pipeline = tiny_models.tiny_qwen_image()
    for seed, name in enumerate(("ink", "wash"), start=8):
        save_lora(folder, name, pipeline, seed=seed)
    hub = FakeHub(folder, "anna/styles")
    with hub.open():
        yield hub


@pytest.fixture(scope="module")
def server(servers, lora_dir, hub, tmp_path_factory):
    model = tiny_models.save_tiny_qwen_image(tmp_path_factory.mktemp("model"))
    names = model.parent / "names.toml"
    # The same weights twice: as they are, and as their owner has them generated.
    names.write_text(f"[plain]\nsource = '{model}'\n[dark]\nsource = '{model}'\nloras = {{ night = 0.5 }}\n")
    of_hub = {"MODEL_LOADING": "any", "OFFLINE": "0", "MODEL_SOURCE": "huggingface", "HF_ENDPOINT": hub.url}
    return servers(
        engine="preloaded", MODEL="plain", MODELS_FILE=str(names), LORA_DIR=str(lora_dir), NO_PROXY="*", **of_hub,
        **SMALL_IMAGES,
    )  # fmt: skip


def ask(server, path, body):
    return requests.post(server.url + path, json=body, timeout=60, headers={"Connection": "close"})


def listed(server):
    return {item["id"]: item for item in server.get("/v1/loras").json()["data"]}


@pytest.fixture(autouse=True)
def _nothing_is_loaded(request):
    """Take off what the tests before have loaded: they come in any order."""
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        for name in [name for name, lora in listed(server).items() if lora["loaded"]]:
            ask(server, "/v1/loras/unload", {"name": name})


def test_they_are_listed_loaded_and_unloaded(server):
    assert {"night", "quick", "sdxl"} <= listed(server).keys()
    assert server.get("/v1/loras/list").json() == server.get("/v1/loras").json()
    assert listed(server)["quick"]["num_inference_steps"] == 2
    assert listed(server)["night"]["description"] == "Dark."
    assert not listed(server)["night"]["loaded"]
    loaded = ask(server, "/v1/loras/load", {"name": "night"})
    assert (loaded.status_code, loaded.json()["loaded"]) == (200, True)
    assert listed(server)["night"]["loaded"]
    unloaded = ask(server, "/v1/loras/unload", {"name": "night"})
    assert (unloaded.status_code, unloaded.json()["loaded"]) == (200, False)
    assert not listed(server)["night"]["loaded"]


def test_they_are_there_while_their_model_is_not_which_loading_one_brings_back(server):
    assert ask(server, "/v1/models/unload", {"model": "plain"}).status_code == 200
    assert {item["loaded"] for item in listed(server).values()} == {False}
    assert ask(server, "/v1/loras/unload", {"name": "night"}).json()["loaded"] is False
    assert ask(server, "/v1/loras/load", {"name": "night"}).json()["loaded"] is True
    assert server.get("/v1/models/plain").json()["loaded"] is True


def test_each_model_holds_its_own(server):
    assert ask(server, "/v1/loras/load", {"name": "night", "model": "dark"}).json()["loaded"] is True
    try:
        held = {
            model: [item["id"] for item in server.get(f"/v1/loras?model={model}").json()["data"] if item["loaded"]]
            for model in ("plain", "dark")
        }
        assert held == {"plain": [], "dark": ["night"]}
        assert ask(server, "/v1/loras/unload", {"name": "night"}).status_code == 200
        again = {item["id"]: item["loaded"] for item in server.get("/v1/loras/list?model=dark").json()["data"]}
        assert again["night"] is True
    finally:
        unloaded = ask(server, "/v1/loras/unload", {"name": "night", "model": "dark"})
    assert unloaded.json()["loaded"] is False


def test_a_model_that_is_none_is_refused_by_name(server):
    for refused in (
        server.get("/v1/loras?model=absent"),
        ask(server, "/v1/loras/load", {"name": "night", "model": "absent"}),
        ask(server, "/v1/loras/unload", {"name": "night", "model": "absent"}),
    ):
        assert (refused.status_code, refused.json()["param"]) == (404, "model")
        assert "this server serves plain" in refused.json()["error"]


def test_an_image_is_generated_with_them_and_the_next_one_without(server):
    plain = pixels(server.generate("a cat", **SMALL).content)
    answer = server.generate("a cat", loras=[{"name": "night", "scale": 0.8}], **SMALL)
    dark = pixels(answer)
    assert (dark != plain).any()
    assert 'Loras: "night:0.8"' in opened(answer).info["parameters"]
    assert (pixels(server.generate("a cat", **SMALL).content) == plain).all()
    ask(server, "/v1/loras/unload", {"name": "night"})
    assert (pixels(server.generate("a cat", **SMALL).content) == plain).all()
    # A request needs no load before it.
    again = server.generate("a cat", loras=[{"name": "night", "scale": 0.8}], **SMALL)
    assert (pixels(again.content) == dark).all()


def test_a_profile_gives_steps_guidance_and_scheduler(server):
    job = server.generate("a cat", size="64x64", loras=[{"name": "quick"}]).headers["X-Request-Id"]
    assert server.get(f"/v1/jobs/{job}").json()["steps"] == 2
    answer = server.generate("a cat", size="64x64", loras=[{"name": "quick"}])
    settings = opened(answer).info["parameters"]
    assert "Steps: 2, Sampler: Euler Karras, CFG scale: 1," in settings


def test_the_cache_knows_the_set_by_its_content(server, lora_dir):
    def origin(*loras):
        body = {"prompt": "cached", "loras": [{"name": name, "scale": scale} for name, scale in loras], **SMALL}
        return server.post(body).headers["X-Cache"]

    save_lora(lora_dir, "renewed", tiny_models.tiny_qwen_image(), seed=3)
    sets = [(), (("renewed", 1.0),), (("renewed", 0.5),), (("night", 1.0), ("renewed", 1.0))]
    assert [origin(*each) for each in sets] == ["miss"] * 4
    assert [origin(*each) for each in sets] == ["hit"] * 4
    assert origin(("renewed", 1.0), ("night", 1.0)) == "hit"
    # Hot: without a restart, another file under the same name is another LoRA.
    save_lora(lora_dir, "renewed", tiny_models.tiny_qwen_image(), seed=4)
    assert [origin(*each) for each in sets] == ["hit", "miss", "miss", "miss"]


def test_a_model_may_have_loras_of_its_own_that_a_request_can_leave_out(server):
    def generate(**fields):
        answer = server.generate(**SMALL, deterministic=True, **fields)
        return pixels(answer)

    chosen = generate(model="plain", loras=[{"name": "night", "scale": 0.5}])
    assert np.array_equal(generate(model="dark"), chosen)
    plain = generate(model="plain")
    assert not np.array_equal(plain, chosen)
    assert np.array_equal(generate(model="dark", loras=[]), plain)


def test_automatic1111_names_them_in_the_prompt(server):
    names = {network["name"]: network for network in server.get("/sdapi/v1/loras").json()}
    assert names["night"]["path"] == "night.safetensors"
    body = {"steps": 3, "width": 64, "height": 64, "seed": 5}
    with_tag = ask(server, "/sdapi/v1/txt2img", body | {"prompt": "a cat<lora:night:0.8><lora:absent:1>"}).json()
    native = server.generate("a cat", loras=[{"name": "night", "scale": 0.8}], **SMALL)
    assert (pixels(with_tag["images"][0]) == pixels(native.content)).all()
    assert json.loads(with_tag["info"])["warnings"] == [
        "these tags were removed from the prompts without adding a LoRA: 'absent'."
    ]
    assert requests.post(server.url + "/sdapi/v1/refresh-loras", timeout=20).status_code == 200


def test_openais_sdk_sends_them_with_an_edit_too(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        settings = {"seed": 5, "num_inference_steps": 3}
        files = [
            client.images.edit(image=one_colour(64, 64), prompt="a boat", extra_body=settings | more)
            for more in ({}, {"loras": [{"name": "night", "scale": 0.8}]})
        ]
    assert [answer.warnings for answer in files] == [[], []]
    plain, dark = (pixels(answer.data[0].b64_json) for answer in files)
    assert (plain != dark).any()


def test_openai_and_hugging_face_take_them_too(server):
    native = pixels(server.generate("a cat", loras=[{"name": "night"}], **SMALL).content)
    fields = {"loras": [{"name": "night"}], "seed": 5, "num_inference_steps": 3}
    openai = ask(server, "/v1/images/generations", {"prompt": "a cat", "size": "64x64", **fields}).json()
    assert (pixels(openai["data"][0]["b64_json"]) == native).all()
    parameters = fields | {"width": 64, "height": 64, "true_cfg_scale": 4.0}
    for address in ("/", "/models/auto", "/models/plain"):
        hugging_face = ask(server, address, {"inputs": "a cat", "parameters": parameters})
        assert (pixels(hugging_face.content) == native).all()


def test_one_of_a_hub_is_fetched_by_its_id_for_the_first_request_that_names_it(server, hub, lora_dir):
    plain = pixels(server.generate("a cat", **SMALL).content)
    first = server.generate("a cat", loras=[{"name": "anna/styles:ink"}], **SMALL)
    assert first.status_code == 200, first.text
    assert (pixels(first.content) != plain).any()
    assert (lora_dir / "anna/styles/ink.safetensors").read_bytes() == (hub.folder / "ink.safetensors").read_bytes()
    asked = hub.requests
    again = server.generate("a cat", loras=[{"name": "anna/styles/ink"}], **SMALL)
    assert (pixels(again.content) == pixels(first.content)).all()
    assert ask(server, "/v1/loras/load", {"name": "anna/styles:ink"}).json()["loaded"] is True
    assert hub.requests == asked
    assert listed(server)["anna/styles/ink"]["loaded"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("anna/styles:absent", "absent"),
        ("anna/nothing", "anna/nothing could not be fetched from Hugging Face"),
    ],
)
def test_what_a_hub_does_not_have_is_a_sentence(server, name, sentence):
    for answer in (
        server.generate("a cat", loras=[{"name": name}], **SMALL), ask(server, "/v1/loras/load", {"name": name}),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["param"]) == (422, "loras")
        assert sentence in answer.json()["error"]


@pytest.mark.parametrize("name", ["../night", "/etc/passwd", "absent", "night.safetensors", "a\u0000b"])
def test_a_name_that_is_none_is_refused_everywhere(server, name):
    generated = server.generate("a cat", loras=[{"name": name}], **SMALL)
    assert (generated.status_code, generated.json()["param"]) == (422, "loras")
    for path in ("/v1/loras/load", "/v1/loras/unload"):
        answer = ask(server, path, {"name": name})
        assert (answer.status_code, answer.json()["param"]) == (404, "name")
        assert "night" in answer.json()["error"]


def test_one_for_another_model_is_refused_and_harms_nobody(server):
    plain = pixels(server.generate("a cat", **SMALL).content)
    for answer in (
        server.generate("a cat", loras=[{"name": "sdxl"}], **SMALL),
        ask(server, "/v1/loras/load", {"name": "sdxl"}),
    ):
        assert (answer.status_code, answer.json()["param"]) == (422, "loras")
        assert "sdxl does not fit the model" in answer.json()["error"]
    assert (pixels(server.generate("a cat", **SMALL).content) == plain).all()


def test_without_a_model_the_files_are_listed_and_loading_waits(own_servers, lora_dir):
    server = own_servers(ready=False, FAKE_LOAD="30", LORA_DIR=str(lora_dir))
    assert listed(server)["night"]["loaded"] is None
    answer = ask(server, "/v1/loras/load", {"name": "night"})
    assert (answer.status_code, answer.json()["code"]) == (503, "loading")
    assert "Retry-After" in answer.headers


def border(data: bytes) -> float:
    """Return how bright the edges of an image are, 0 to 255."""
    image = np.asarray(opened(data).convert("L")).astype(float)
    return float(np.concatenate([image[:16].ravel(), image[-16:].ravel(), image[:, :16].ravel()]).mean())


def test_the_night_that_is_shipped_darkens_the_demo_models_backgrounds_and_no_objects(demo_server):
    # Without `deterministic` a lone image with guidance may differ by one level from one time to the next.
    common = {"num_inference_steps": 10, "add_overlay": False, "cache": False, "deterministic": True}
    for prompt in ("a red circle", "a yellow star on a green background"):
        day = demo_server.generate(prompt, **common).content
        night = demo_server.generate(prompt, loras=[{"name": "night"}], **common).content
        again = demo_server.generate(prompt, **common).content
        assert border(night) < 0.6 * border(day)
        assert (pixels(again) == pixels(day)).all()
        assert np.abs(pixels(day)[256, 256] - pixels(night)[256, 256]).max() < 60
