"""Every family is served end to end: a folder in its published layout, the real engine, and POST /generate."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.support import tiny_models
from tests.support.images import coded, noise, pixels
from tests.support.served_model import assert_a_lora_leaves_no_trace, assert_together_as_alone
from tests.support.server import SMALL_IMAGES, Server
from tests.support.tiny_ernie_image import tiny_ernie_image
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_loras import save_lora

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class FamilyModel:
    """A tiny model, its defaults for what a request leaves out, and what it starts from.

    `save` writes one whose published folder is not what diffusers writes, and returns the settings that it needs.
    """

    build: Callable[[], Any]
    steps: int
    guidance: float
    from_images: bool = True
    save: Callable[[Path], dict[str, str]] | None = None


def save_hidream(folder: Path) -> dict[str, str]:
    """Write it as it is published: the Llama lies elsewhere."""
    tiny_models.save_tiny_hidream(folder / "model", folder / "llama")
    return {"TEXT_ENCODER_PATH": str(folder / "llama")}


MODELS = {
    "stable-diffusion": FamilyModel(tiny_models.tiny_stable_diffusion, 28, 7.0),
    "stable-diffusion (2.1)": FamilyModel(
        lambda: tiny_models.tiny_stable_diffusion(width=64, prediction="v_prediction"), 28, 7.0
    ),
    "stable-diffusion-xl": FamilyModel(tiny_models.tiny_stable_diffusion_xl, 30, 5.0),
    "cogview4": FamilyModel(tiny_models.tiny_cogview4, 50, 5.0, from_images=False),
    "hidream-i1": FamilyModel(tiny_models.tiny_hidream, 50, 5.0, from_images=False, save=save_hidream),
    "flux": FamilyModel(tiny_models.tiny_flux, 50, 3.5),
    "z-image": FamilyModel(tiny_models.tiny_z_image, 50, 4.0),
    "flux.2-klein (base)": FamilyModel(lambda: tiny_flux2_klein(distilled=False), 50, 4.0),
    "ernie-image": FamilyModel(tiny_ernie_image, 50, 4.0, from_images=False),
}


@pytest.fixture(scope="module", params=MODELS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], family: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp(family)
    model, further = MODELS[family], {}
    if model.save is None:
        model.build().save_pretrained(folder / "model")
    else:
        further = model.save(folder)
    save_lora(folder / "loras", "red", model.build())
    further |= {"LORA_DIR": str(folder / "loras")} | SMALL_IMAGES
    return servers(engine="preloaded", MODEL=str(folder / "model"), **further)


def test_info_names_the_family_and_its_defaults(server, family):
    info = server.get("/info").json()
    assert info["model_family"] == family.split()[0]
    defaults = server.health()["generator_info"]["defaults"]
    assert (defaults["steps"], defaults["guidance_scale"]) == (MODELS[family].steps, MODELS[family].guidance)


def test_an_image_is_generated_at_the_exact_size(server):
    text = server.generate("a cat", size="100x68", num_inference_steps=4, add_overlay=False)
    assert pixels(text).shape == (68, 100, 3)


def test_images_and_masks_are_taken_or_refused_by_name(server, family):
    common = {"num_inference_steps": 4, "add_overlay": False}
    start, black = coded(noise()), coded(Image.new("L", (64, 64), 0))
    if not MODELS[family].from_images:
        for sent in ({"image": start}, {"image": start, "mask": black}):
            refused = server.generate("a cat", **sent, **common)
            assert (refused.status_code, refused.json()["param"]) == (422, "image")
            assert refused.json()["error"].endswith("generates from text alone; leave image out.")
        return
    changed = server.generate("a cat", image=start, strength=0.5, **common)
    assert changed.status_code == 200, changed.text
    masked = server.generate("a cat", image=start, mask=black, strength=0.5, **common)
    assert "strength" not in masked.headers.get("X-Warnings", "")
    kept = pixels(start)
    assert (pixels(masked) == kept).all()


def test_guidance_matters_and_has_the_familys_own_name(server):
    generated = [
        server.generate("a cat", size="64x64", num_inference_steps=4, guidance_scale=scale, add_overlay=False)
        for scale in (1.0, 9.0)
    ]
    assert "X-Warnings" not in generated[1].headers
    assert (pixels(generated[0]) != pixels(generated[1])).any()


def test_a_lora_changes_what_is_generated_and_the_next_image_is_as_before(server):
    assert_a_lora_leaves_no_trace(server, "a cat", size="64x64", num_inference_steps=4, add_overlay=False)


def test_quality_words_of_another_family_are_not_appended(server):
    job = server.generate("a plain prompt", size="64x64", num_inference_steps=2).headers["X-Request-Id"]
    assert server.get(f"/v1/jobs/{job}").json()["prompt"] == "a plain prompt"


def test_several_clients_at_a_time_get_what_each_gets_alone(server):
    prompts = ["a cat", "a long story about a dog", "a boat"]

    def generate(prompt: str) -> np.ndarray:
        return pixels(server.generate(prompt, size="64x64", num_inference_steps=6, add_overlay=False))

    assert_together_as_alone(generate, prompts)


def test_a_client_that_leaves_stops_its_image_and_no_other(server):
    alone = pixels(server.generate("stays", size="64x64", num_inference_steps=20, add_overlay=False))
    with pytest.raises(requests.Timeout):
        server.post({"prompt": "leaves", "size": "64x64", "num_inference_steps": 150}, timeout=0.3)
    stays = server.generate("stays", size="64x64", num_inference_steps=20, add_overlay=False)
    assert np.abs(pixels(stays) - alone).max() <= 1
    server.wait_until_idle()
    assert server.get("/v1/jobs?state=cancelled").json()["data"][0]["prompt"].startswith("leaves")
