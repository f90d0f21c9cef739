"""A request chooses how an image is generated, in every dialect, among what fits the loaded model."""

import json

import pytest
import requests

from tests.support import tiny_models
from tests.support.images import pixels
from tests.support.server import SMALL_IMAGES

MODELS = {
    "stable-diffusion": tiny_models.tiny_stable_diffusion,
    "stable-diffusion-xl": tiny_models.tiny_stable_diffusion_xl,
}


@pytest.fixture(scope="module", params=MODELS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def server(servers, family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    MODELS[family]().save_pretrained(folder)
    return servers(engine="preloaded", MODEL=str(folder), **SMALL_IMAGES)


def test_a_request_chooses_its_scheduler_by_either_name_and_learns_which_fit(server, family):
    info = server.get("/info").json()
    assert info["sampler"] == {"stable-diffusion": "DPM++ 2M Karras", "stable-diffusion-xl": "Euler"}[family]
    assert info["schedulers"]["Euler a"] == "EulerAncestralDiscreteScheduler"
    common = {"size": "64x64", "num_inference_steps": 3, "add_overlay": False}
    names = ["Euler a", "EulerAncestralDiscreteScheduler", "DDIM"]
    first, same, other = (pixels(server.generate("a cat", scheduler=name, **common).content) for name in names)
    assert (first == same).all()
    assert (first != other).any()
    refused = server.generate("a cat", scheduler="FlowMatchEulerDiscreteScheduler", **common)
    assert refused.status_code == 422
    assert refused.json()["param"] == "scheduler"
    assert f"; known are {info['sampler']}, " in refused.json()["error"]


def test_the_cache_tells_schedulers_apart_and_not_their_names(server):
    def ask(scheduler: str | None) -> str:
        body = {"prompt": f"cached {server.port}", "size": "64x64", "num_inference_steps": 2, "scheduler": scheduler}
        return server.post(body).headers["X-Cache"]

    own = server.get("/info").json()["sampler"]
    names = [None, "DDIM", "DDIMScheduler", "Heun", own, "ddim"]
    assert [ask(name) for name in names] == ["miss", "miss", "hit", "miss", "hit", "hit"]


def test_automatic1111_lists_the_samplers_and_writes_them_into_its_images(server):
    samplers = server.get("/sdapi/v1/samplers").json()
    names = [sampler["name"] for sampler in samplers]
    assert names[0] == server.get("/info").json()["sampler"].removesuffix(" Karras")
    assert {"DPM++ 2M", "Euler", "Euler a", "DDIM", "Heun"} <= set(names)
    schedules = [schedule["label"] for schedule in server.get("/sdapi/v1/schedulers").json()]
    assert schedules == ["Automatic", "Uniform", "Karras", "Exponential"]
    body = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 3, "sampler_name": "Euler"}
    for schedule, expected in (("Karras", "Euler Karras"), ("Automatic", "Euler")):
        answer = requests.post(server.url + "/sdapi/v1/txt2img", json=body | {"scheduler": schedule}, timeout=60)
        info = json.loads(answer.json()["info"])
        assert info["sampler_name"] == expected
        assert f"Sampler: {expected}, " in info["infotexts"][0]
        assert info["warnings"] == []
