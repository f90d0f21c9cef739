"""Qwen-Image 2.1 is served end to end, from text and from images: its published layout and the real engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.support.images import coded, noise, opened, pixels
from tests.support.served_model import assert_a_lora_leaves_no_trace, assert_leaving_cancels, assert_together_as_alone
from tests.support.server import Server
from tests.support.tiny_loras import save_lora
from tests.support.tiny_qwen_image_21 import save_tiny_qwen_image_21, tiny_qwen_image_21

COMMON = {"num_inference_steps": 3, "add_overlay": False}


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp("qwen-image-2.1")
    save_tiny_qwen_image_21(folder)
    save_lora(folder / "loras", "red", tiny_qwen_image_21())
    return servers(engine="preloaded", MODEL=str(folder), LORA_DIR=str(folder / "loras"))


def test_it_generates_from_text_without_guidance_unless_that_is_asked_for(server):
    plain = server.generate("a cat", size="100x68", **COMMON)
    assert pixels(plain).shape == (68, 100, 3)
    assert server.get("/info").json()["model_family"] == "qwen-image-2.1"
    assert server.health()["generator_info"]["defaults"]["steps"] == 40
    guided = server.generate("a cat", size="100x68", true_cfg_scale=4.0, **COMMON)
    assert (pixels(guided) != pixels(plain)).any()


def test_it_edits_one_image_or_several(server):
    one = server.generate("make it blue", image=coded(noise()), **COMMON)
    assert pixels(one).shape == (64, 64, 3)
    several = server.generate("both together", image=[coded(noise(0)), coded(noise(1, 96))], **COMMON)
    assert pixels(several).shape == (64, 64, 3)
    assert "X-Warnings" not in several.headers


def test_its_transparency_is_kept_where_it_is_asked_for(server):
    fields = {"prompt": "a glass", "size": "100x68", "num_inference_steps": 3, "seed": 1}
    address = f"{server.url}/v1/images/generations"
    transparent, opaque = (
        requests.post(address, json=fields | {"background": background}, timeout=60).json()
        for background in ("transparent", "auto")
    )
    assert (transparent["background"], transparent["warnings"]) == ("transparent", [])
    assert opaque["background"] == "opaque"
    kept, on_white = (opened(answer["data"][0]["b64_json"]) for answer in (transparent, opaque))
    assert (kept.mode, kept.size, on_white.mode) == ("RGBA", (100, 68), "RGB")
    colours, opacity = np.asarray(kept)[..., :3] / 255, np.asarray(kept)[..., 3:] / 255
    assert opacity.min() < 1
    assert np.abs(colours * opacity + 1 - opacity - np.asarray(on_white) / 255).max() < 0.01


def test_a_lora_changes_what_is_generated_and_the_next_image_is_as_before(server):
    assert_a_lora_leaves_no_trace(server, "a cat", size="64x64", **COMMON)


def test_what_it_cannot_do_is_refused_by_name(server):
    for fields, param in (
        ({"image": coded(noise()), "mask": coded(noise())}, "mask"),
        ({"quality": "fast"}, "quality"),
    ):
        answer = server.generate("a cat", **fields, **COMMON)
        assert (answer.status_code, answer.json()["param"]) == (422, param)


def test_several_clients_at_a_time_get_what_each_gets_alone(server):
    def generate(prompt: str) -> np.ndarray:
        return pixels(server.generate(prompt, size="64x64", cache=False, **COMMON))

    prompts = ["a cat", "a long story about a dog", "a boat"]
    assert_together_as_alone(generate, prompts, difference=0)


def test_a_client_that_leaves_stops_its_image(server):
    assert_leaving_cancels(server, size="768x768", n=4)
