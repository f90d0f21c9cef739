"""A ControlNet is served end to end: a folder beside the model's, the real engine, and several dialects."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image, ImageDraw

from tests.support import tiny_models
from tests.support.images import coded, file_of, noise, pixels
from tests.support.served_model import assert_leaving_cancels, assert_together_as_alone
from tests.support.server import SMALL_IMAGES, Server
from tests.support.tiny_controls import tiny_control

COMMON = {"num_inference_steps": 4, "add_overlay": False}


@pytest.fixture(scope="module", params=["stable-diffusion", "qwen-image"])
def server(request, servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp("control")
    build: Callable[[], Any] = {
        "stable-diffusion": tiny_models.tiny_stable_diffusion, "qwen-image": tiny_models.tiny_qwen_image
    }[request.param]  # fmt: skip
    pipeline = build()
    pipeline.save_pretrained(folder / "model")
    names = ["edges", "depth"] if request.param == "stable-diffusion" else ["edges"]
    for seed, name in enumerate(names):
        tiny_control(pipeline, seed=seed).save_pretrained(folder / name)
    nets = ", ".join(str(folder / name) for name in names)
    return servers(engine="preloaded", MODEL=str(folder / "model"), CONTROLNET=nets, **SMALL_IMAGES)


def guide(seed: int = 0) -> Image.Image:
    return noise(seed, 96, 64)


def test_the_image_guides_and_gives_its_size(server):
    one = pixels(server.generate("a house", control_image=coded(guide(0)), **COMMON))
    assert one.shape == (64, 96, 3)
    assert (one != pixels(server.generate("a house", control_image=coded(guide(1)), **COMMON))).any()
    weak = [
        pixels(server.generate("a house", control_image=coded(guide(seed)), controlnet_conditioning_scale=0, **COMMON))
        for seed in (0, 1)
    ]
    assert (weak[0] == weak[1]).all()
    early = server.generate("a house", control_image=coded(guide(0)), control_guidance_end=0.5, **COMMON)
    assert (pixels(early) != one).any()
    asked = pixels(server.generate("a house", control_image=coded(guide(0)), size="128x64", **COMMON))
    assert asked.shape == (64, 128, 3)


def test_it_may_be_sent_as_a_file(server):
    fields = {"prompt": "a house", "num_inference_steps": "4", "add_overlay": "false"}
    files = {"control_image": ("a.png", file_of(guide()), "image/png")}
    answer = requests.post(f"{server.url}/generate", data=fields, files=files, timeout=60)
    assert (pixels(answer) == pixels(server.generate("a house", control_image=coded(guide()), **COMMON))).all()


def test_beside_an_image_to_start_from_it_guides_or_is_refused_by_name(server):
    answer = server.generate("a house", control_image=coded(guide(0)), image=coded(guide(1)), strength=0.5, **COMMON)
    if server.get("/info").json()["model_family"] == "qwen-image":
        assert (answer.status_code, answer.json()["param"]) == (422, "image")
        return
    other = server.generate("a house", control_image=coded(guide(2)), image=coded(guide(1)), strength=0.5, **COMMON)
    assert (pixels(answer) != pixels(other)).any()
    mask = coded(Image.new("L", (96, 64), 0))
    masked = server.generate("a house", control_image=coded(guide(0)), image=coded(guide(1)), mask=mask, **COMMON)
    assert (pixels(masked) == np.asarray(guide(1))).all()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"controlnet_conditioning_scale": 3}, "controlnet_conditioning_scale"),
        ({"control_guidance_start": 0.6, "control_guidance_end": 0.5}, "control_guidance_start"),
        ({"control_image": "!"}, "control_image"),
        ({"control_image": 5}, "control_image"),
        ({"controls": [{"image": "AA=="}]}, "controls"),
        ({"control_image": None, "controls": [{"image": "!"}]}, "controls"),
        ({"control_image": None, "controls": [{"image": "AA==", "scale": 3}]}, "controls[0].scale"),
        ({"control_image": None, "controls": [{"image": coded(guide()), "start": 1}]}, "controls"),
        ({"control_image": None, "controls": [{"image": coded(guide()), "model": "pose"}]}, "controls"),
        ({"control_image": None, "controls": [{"image": "AA=="}] * 4}, "controls"),
    ],
)
def test_what_is_wrong_is_refused_by_name(server, fields, param):
    answer = server.generate("a house", **({"control_image": coded(guide())} | fields), **COMMON)
    assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text


def test_settings_of_an_image_that_was_not_sent_are_warned_of(server):
    answer = server.generate("a house", control_guidance_end=0.5, size="64x64", **COMMON)
    assert "control_guidance_end is ignored without control_image" in answer.headers["X-Warnings"]


def test_automatic1111s_extension_guides_too(server):
    def generate(**unit: Any) -> tuple[np.ndarray, str]:
        body = {"prompt": "a house", "steps": 4, "seed": 1, "width": 96, "height": 64}
        scripts = {"alwayson_scripts": {"controlnet": {"args": [unit]}}} if unit else {}
        answer = requests.post(f"{server.url}/sdapi/v1/txt2img", json=body | scripts, timeout=60)
        assert answer.status_code == 200, answer.text
        return pixels(base64.b64decode(answer.json()["images"][0])), answer.headers.get("X-Warnings", "")

    unguided, _ = generate()
    guided, warnings = generate(image=coded(guide()), module="none", weight=0.7)
    assert (guided != unguided).any()
    assert "controlnet" not in warnings
    native = server.generate(
        "a house", control_image=coded(guide()), controlnet_conditioning_scale=0.7, seed=1, positive_magic=False,
        size="96x64", **COMMON,
    )  # fmt: skip
    assert (pixels(native) == guided).all()
    same, warnings = generate(input_image=coded(guide()), module="depth_midas", weight=0.7, model="control_depth")
    assert (same == guided).all()
    assert "module 'depth_midas' is not served, only canny and invert" in warnings
    for module, name in (("canny", "canny"), ("invert (from white bg & black line)", "invert")):
        changed, warnings = generate(image=coded(guide()), module=module, weight=0.7)
        assert (changed != guided).any()
        assert "controlnet" not in warnings
        native = server.generate(
            "a house", control_image=coded(guide()), control_preprocessor=name, controlnet_conditioning_scale=0.7,
            seed=1, positive_magic=False, size="96x64", **COMMON,
        )  # fmt: skip
        assert (pixels(native) == changed).all()
    off, warnings = generate(enabled=False, image=coded(guide()))
    assert (off == unguided).all()
    assert "alwayson_scripts is ignored: 'controlnet'" in warnings


def test_several_units_guide_together_in_both_dialects(server):
    names = requests.get(f"{server.url}/controlnet/model_list", timeout=60).json()["model_list"]
    options = [{"scale": 0.7, "model": names[-1]}, {"scale": 1.5, "end": 0.5}, {"scale": 0.5, "preprocessor": "invert"}]
    controls = [{"image": coded(guide(number))} | each for number, each in enumerate(options)]
    sent = {"seed": 1, "positive_magic": False, "size": "96x64", **COMMON}
    together = pixels(server.generate("a house", controls=controls, **sent))
    assert (together != pixels(server.generate("a house", controls=controls[:2], **sent))).any()
    units = [
        {"image": coded(guide(0)), "weight": 0.7, "model": f"{names[-1]} [0123abcd]"},
        {"enabled": False, "image": coded(guide(9))},
        {"image": coded(guide(1)), "weight": 1.5, "guidance_end": 0.5},
        {"image": coded(guide(2)), "weight": 0.5, "module": "invert"},
        {"image": coded(guide(8))},
    ]
    scripts = {"alwayson_scripts": {"controlnet": {"args": units}}}
    body = {"prompt": "a house", "steps": 4, "seed": 1, "width": 96, "height": 64} | scripts
    answer = requests.post(f"{server.url}/sdapi/v1/txt2img", json=body, timeout=60)
    assert (pixels(base64.b64decode(answer.json()["images"][0])) == together).all()
    assert "only 3 units are used" in answer.headers["X-Warnings"]
    if len(names) > 1:
        first = controls[0] | {"model": names[0]}
        assert (pixels(server.generate("a house", controls=[first, *controls[1:]], **sent)) != together).any()


def test_several_clients_at_a_time_get_what_each_gets_alone(server):
    def generate(seed: int) -> np.ndarray:
        return pixels(
            server.generate("a house", control_image=coded(guide(seed)), seed=seed, **(COMMON | {"cache": False}))
        )

    assert_together_as_alone(generate, range(3))


def test_a_client_that_leaves_stops_its_image(server):
    assert_leaving_cancels(server, control_image=coded(guide()))


def test_the_shipped_one_puts_things_where_the_silhouettes_are(servers):
    server = servers(engine="preloaded", MODEL="demo", CONTROLNET="silhouettes", **SMALL_IMAGES)
    silhouette = Image.new("L", (512, 512))
    ImageDraw.Draw(silhouette).ellipse((60, 260, 260, 460), fill=255)

    def overlap(**fields: Any) -> float:
        answer = server.generate("a red circle on a blue background", seed=7, add_overlay=False, **fields)
        colours = pixels(answer)
        red, wanted = (colours[..., 0] > 120) & (colours[..., 2] < 120), np.asarray(silhouette) == 255
        return float((red & wanted).sum() / (red | wanted).sum())

    assert overlap(control_image=coded(silhouette)) > 0.7
    assert overlap() < 0.3, "without it stands in the middle"


def test_without_a_control_net_it_is_refused_by_name(fake_server):
    answer = fake_server.generate("a house", control_image=coded(guide()))
    assert (answer.status_code, answer.json()["param"]) == (422, "control_image")
    assert "CONTROLNET" in answer.json()["error"]
