"""A LoRA with its published file name needs no profile of its own."""

import json

import diffusers
import pytest

from imageserver.engine.families import FAMILIES
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulers
from imageserver.lora_folder import LoraFolder
from imageserver.lora_profiles import LoraProfile, published_profile
from tests.support.factories import generation


@pytest.mark.parametrize(
    ("name", "steps", "guidance"),
    [
        ("Qwen-Image-Lightning-4steps-V2.0", 4, 1.0),
        ("Qwen-Image-Lightning-8steps-V1.1-bf16", 8, 1.0),
        ("Qwen-Image-2512-Lightning-4steps-V1.0-fp32", 4, 1.0),
        ("Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16", 8, 1.0),
        ("Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16", 4, 1.0),
        ("sdxl_lightning_2step_lora", 2, 0.0),
        ("sdxl_lightning_8step_lora", 8, 0.0),
    ],
)
def test_a_published_file_brings_its_steps_and_guidance(tmp_path, name, steps, guidance):
    (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
    profile = LoraFolder(tmp_path).find(name).profile
    assert (profile.num_inference_steps, profile.true_cfg_scale) == (steps, guidance)


@pytest.mark.parametrize(
    "name", ["night", "Qwen-Image-Lightning", "my-Qwen-Image-Lightning-4steps", "sdxl_lightning_4step_unet"]
)
def test_any_other_file_recommends_nothing(name):
    assert published_profile(name) == LoraProfile()


def test_a_profile_of_the_owner_goes_before_the_published_one(tmp_path):
    name = "Qwen-Image-Lightning-4steps-V2.0"
    (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
    published = LoraFolder(tmp_path).find(name)
    (tmp_path / f"{name}.json").write_text(json.dumps({"num_inference_steps": 6}))
    own = LoraFolder(tmp_path).find(name)
    assert (own.profile.num_inference_steps, own.profile.true_cfg_scale) == (6, None)
    assert own.digest != published.digest


@pytest.mark.parametrize(
    ("name", "family", "own", "sigmas"),
    [
        # Shifted by 3, as the distilled models were trained: 3t / (1 + 2t) of four equal steps.
        ("Qwen-Image-Lightning-4steps-V2.0", "qwen-image", "FlowMatchEulerDiscreteScheduler", [1, 0.9, 0.75, 0.5]),
        ("sdxl_lightning_4step_lora", "stable-diffusion-xl", "EulerDiscreteScheduler", None),
    ],
)
def test_its_noise_scheduler_is_made_for_the_model(name, family, own, sigmas):
    specs = next(each for each in FAMILIES if each.name == family).noise_schedulers
    stock = getattr(diffusers, own)()
    config = published_profile(name).scheduler
    made = NoiseSchedulers(stock, specs).for_generation(stock, generation(steps=4), config)
    if sigmas:
        made.set_timesteps(sigmas=[1, 0.75, 0.5, 0.25], mu=config["base_shift"])
        assert made.sigmas[:-1].tolist() == pytest.approx(sigmas)
    else:
        made.set_timesteps(4)
        assert made.timesteps.tolist() == [999, 749, 499, 249]
