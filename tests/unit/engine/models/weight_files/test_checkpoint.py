"""A model in one file generates what its folder generates, and any other file says what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.downloads import ModelUnavailable, NotOnDisk, network_failures
from imageserver.engine.models import model_choice
from imageserver.engine.models.weight_files.checkpoint import read_checkpoint
from imageserver.settings import Settings
from tests.support.fake_hub import FakeHub
from tests.support.tiny_checkpoints import stable_diffusion_checkpoint, stable_diffusion_xl_checkpoint
from tests.support.tiny_models import load, silent, tiny_stable_diffusion, tiny_stable_diffusion_xl

# The model whose configuration a file needs, and how it is made.
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (tiny_stable_diffusion, stable_diffusion_checkpoint),
    # diffusers tells its two text encoders apart by their widths.
    "stabilityai/stable-diffusion-xl-base-1.0": (
        lambda: tiny_stable_diffusion_xl(second_width=48),
        stable_diffusion_xl_checkpoint,
    ),
}


def make(folder: Path, base: str) -> None:
    """Write the tiny model as a folder and as a file."""
    build, checkpoint = KINDS[base]
    pipeline = build()
    pipeline.save_pretrained(folder / "base")
    tensors = checkpoint(pipeline)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "mine.safetensors")


def settings_for(model: Path, models: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, model=str(model), device="cpu", models_dir=models, **changes)


def image(settings: Settings) -> np.ndarray:
    pipeline = load(settings, silent).pipeline
    made = pipeline(
        prompt="a fox", width=64, height=64, num_inference_steps=2, generator=torch.Generator().manual_seed(0)
    ).images[0]
    return np.asarray(made).astype(int)


@pytest.mark.parametrize(("base", "size"), [*zip(KINDS, ("512x512", "1024x1024"), strict=True)])
def test_a_file_generates_what_its_folder_does_and_only_its_configuration_is_fetched(base, size, tmp_path, monkeypatch):
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", ())
    made, models = tmp_path / "made", tmp_path / "models"
    make(made, base)
    hub = FakeHub(made / "base", base)
    with hub.open():
        settings = settings_for(made / "mine.safetensors", models, hf_endpoint=hub.url)
        with pytest.raises(NotOnDisk, match=rf"needs the configuration of {base}, a few megabytes"):
            model_choice.find(settings.model_copy(update={"offline": True}), silent)
        found = model_choice.find(settings, silent)
    assert not list(models.rglob("*.safetensors"))
    own = model_choice.find(settings_for(made / "base", models), silent)
    assert found.weights.components == own.weights.components
    assert found.entry.size == size
    offline = settings.model_copy(update={"offline": True})
    assert (image(offline) == image(settings_for(made / "base", models))).all()


def header_of(*names: str, channels: int = 4) -> dict[str, torch.Tensor]:
    tensors = {name: torch.zeros(1) for name in names}
    if "model.diffusion_model.input_blocks.0.0.weight" in tensors:
        tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(8, channels, 1, 1)
    return tensors


UNET, VAE = "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"
CLIP = "cond_stage_model.transformer.text_model.embeddings.position_ids"
XL_CLIPS = ("conditioner.embedders.0.transformer.text_model.a", "conditioner.embedders.1.model.ln_final.weight")
OTHERS = {
    "of SD 2": (header_of(UNET, VAE, "cond_stage_model.model.ln_final.weight"), "is a Stable Diffusion 2"),
    "for inpainting": (header_of(UNET, VAE, CLIP, channels=9), "reads 9 channels: it is a model for inpainting"),
    "a refiner": (header_of(UNET, VAE, "conditioner.embedders.0.model.a"), "is a refiner of Stable Diffusion XL"),
    "without a VAE": (header_of(UNET, CLIP), "has no VAE or no text encoder inside"),
    "a transformer of FLUX": (
        header_of("double_blocks.0.img_attn.qkv.weight"), "contains the transformer of FLUX alone: .* TRANSFORMER_FILE",
    ),
    "a LoRA": (header_of("lora_unet_a.lora_down.weight"), "is a LoRA: put it into LORA_DIR"),
    "a VAE": (header_of(VAE), "contains no transformer, only other parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_file_is_instead_is_said(tmp_path, name):
    tensors, sentence = OTHERS[name]
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelUnavailable, match=f"^MODEL=a.safetensors {sentence}"):
        model_choice.find(settings_for(tmp_path / "a.safetensors", tmp_path), silent)


def test_the_noise_that_an_xl_model_was_trained_with_is_in_its_file(tmp_path):
    save_file(header_of(UNET, VAE, *XL_CLIPS, "v_pred", "ztsnr"), tmp_path / "a.safetensors")
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert found.base == "sd-xl-base"
    assert found.noise == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    assert found.elements == {"unet": 32, "vae": 1, "text_encoder": 1, "text_encoder_2": 1}
