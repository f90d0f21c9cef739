"""Qwen-Image 2.1 is served end to end, from text and from images: its published layout and the real engine."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.server import Server, in_background
from tests.support.tiny_loras import save_lora
from tests.support.tiny_qwen_image_21 import save_tiny_qwen_image_21, tiny_qwen_image_21

COMMON = {"num_inference_steps": 3, "add_overlay": False}


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp("qwen-image-2.1")
    save_tiny_qwen_image_21(folder)
    save_lora(folder / "loras", "red", tiny_qwen_image_21())
    return servers(engine="real", MODEL=str(folder), LORA_DIR=str(folder / "loras"))


def coded(seed: int = 0, width: int = 64, height: int = 64) -> str:
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def generated(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def test_it_generates_from_text_without_guidance_unless_that_is_asked_for(server):
    plain = server.generate("a cat", size="100x68", **COMMON)
    assert generated(plain).shape == (68, 100, 3)
    assert server.get("/info").json()["model_family"] == "qwen-image-2.1"
    assert server.health()["generator_info"]["defaults"]["steps"] == 40
    guided = server.generate("a cat", size="100x68", true_cfg_scale=4.0, **COMMON)
    assert (generated(guided) != generated(plain)).any()


def test_it_edits_one_image_or_several(server):
    one = server.generate("make it blue", image=coded(), **COMMON)
    assert generated(one).shape == (64, 64, 3)
    several = server.generate("both together", image=[coded(0), coded(1, 96)], **COMMON)
    assert generated(several).shape == (64, 64, 3)
    assert "X-Warnings" not in several.headers


def test_a_lora_changes_what_is_generated_and_the_next_image_is_as_before(server):
    def generate(*loras: str) -> np.ndarray:
        named = [{"name": name} for name in loras]
        return generated(server.generate("a cat", size="64x64", loras=named, **COMMON))

    before = generate()
    assert (generate("red") != before).any()
    assert (generate() == before).all()


def test_what_it_cannot_do_is_refused_by_name(server):
    for fields, param in (({"image": coded(), "mask": coded()}, "mask"), ({"quality": "fast"}, "quality")):
        answer = server.generate("a cat", **fields, **COMMON)
        assert (answer.status_code, answer.json()["param"]) == (422, param)


def test_several_clients_at_a_time_get_what_each_gets_alone(server):
    def generate(prompt: str) -> np.ndarray:
        return generated(server.generate(prompt, size="64x64", cache=False, **COMMON))

    prompts = ["a cat", "a long story about a dog", "a boat"]
    alone = [generate(prompt) for prompt in prompts]
    together = [in_background(generate, prompt) for prompt in prompts]
    for expected, image in zip(alone, together, strict=True):
        assert (image.result(60) == expected).all()


def test_a_client_that_leaves_stops_its_image(server):
    with pytest.raises(requests.Timeout):
        server.post({"prompt": "leaves", "size": "768x768", "n": 4, "num_inference_steps": 150}, timeout=0.3)
    server.wait_until_idle()
    assert server.get("/v1/jobs?state=cancelled").json()["data"][0]["prompt"].startswith("leaves")
