"""Every family is served end to end: a folder in its published layout, the real engine, and POST /generate."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import tiny_models
from tests.integration.server import Server

MODELS: dict[str, Callable[[], Any]] = {
    "stable-diffusion": tiny_models.tiny_stable_diffusion,
    "stable-diffusion-xl": tiny_models.tiny_stable_diffusion_xl,
}


@pytest.fixture(scope="module", params=MODELS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], family: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp(family)
    MODELS[family]().save_pretrained(folder)
    server = servers(engine="real", MODEL=str(folder))
    server.wait_until_ready(120)
    return server


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def picture() -> str:
    target = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def test_info_names_the_family_and_its_defaults(server, family):
    info = server.get("/info").json()
    assert info["model_family"] == family
    defaults = server.health()["generator_info"]["defaults"]
    assert defaults["steps"] == {"stable-diffusion": 28, "stable-diffusion-xl": 30}[family]
    assert defaults["guidance_scale"] == {"stable-diffusion": 7.0, "stable-diffusion-xl": 5.0}[family]


def test_text_pictures_and_masks_are_drawn_at_the_exact_size(server):
    common = {"num_inference_steps": 4, "add_overlay": False, "cache": False}
    text = server.generate("a cat", size="100x68", **common)
    assert text.status_code == 200, text.text
    assert pixels(text.content).shape == (68, 100, 3)
    start = picture()
    changed = server.generate("a cat", image=start, strength=0.5, **common)
    assert changed.status_code == 200, changed.text
    masked = server.generate("a cat", image=start, mask=black(), **common)
    kept = pixels(base64.b64decode(start))
    assert (pixels(masked.content) == kept).all()


def black() -> str:
    target = io.BytesIO()
    Image.new("L", (64, 64), 0).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def test_guidance_matters_and_has_the_familys_own_name(server):
    drawn = [
        server.generate("a cat", size="64x64", num_inference_steps=4, guidance_scale=scale, add_overlay=False)
        for scale in (1.0, 9.0)
    ]
    assert "X-Warnings" not in drawn[1].headers
    assert (pixels(drawn[0].content) != pixels(drawn[1].content)).any()


def test_quality_words_of_another_family_are_not_appended(server):
    job = server.generate("a plain prompt", size="64x64", num_inference_steps=2).headers["X-Request-Id"]
    assert server.get(f"/v1/jobs/{job}").json()["prompt"] == "a plain prompt"
