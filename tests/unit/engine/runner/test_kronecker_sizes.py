"""peft computes with the factors of a LoKr in any sizes, beside other LoRAs, and is unchanged afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lokr import LoKrLayer
from safetensors.torch import save_file

from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import tiny_stable_diffusion

Tensors = dict[str, torch.Tensor]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class LoraRack:
    """The LoRAs of a pipeline, from a folder."""

    def __init__(self, pipeline: Any, folder: Path) -> None:
        self.pipeline, self.folder, self.files = pipeline, folder, LoraFolder(folder)
        self.denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
        self.loras = LoraAdapters(pipeline, "transformer" if hasattr(pipeline, "transformer") else "unet", self.files)

    def write(self, name: str, tensors: Tensors) -> None:
        save_file(tensors, self.folder / f"{name}.safetensors")

    def use(self, *names: str) -> None:
        self.loras.use(tuple(Lora(name=name, digest=self.files.find(name).digest) for name in names))

    def change(self, layer: str) -> torch.Tensor:
        """Return what the only LoKr adds to the weight of a layer."""
        module = self.denoiser.get_submodule(layer)
        [name] = module._available_adapters
        change: torch.Tensor = module.get_delta_weight(name)
        return change.detach()


def flux2_lokr(rows: int) -> tuple[Tensors, dict[str, torch.Tensor]]:
    """Return a file of ai-toolkit for the tiny FLUX.2, with a rule for each kind of layer, and its changes."""
    shapes = {
        "double_blocks.0.img_attn.qkv": ((rows, 2), (96 // rows, 16)),
        "double_blocks.0.img_attn.proj": ((4, 4), (8, 8)),
        "single_blocks.0.linear2": ((2, 4), (16, 32)),
    }
    tensors, changes = {}, {}
    for seed, (name, (first, second)) in enumerate(shapes.items()):
        parts = random(*first, seed=seed), random(*second, seed=seed + 9)
        tensors |= {f"diffusion_model.{name}.lokr_{each}": part for each, part in zip(("w1", "w2"), parts, strict=True)}
        # What ai-toolkit writes where both factors are whole.
        tensors[f"diffusion_model.{name}.alpha"] = torch.tensor(9999220736.0)
        changes[name] = torch.kron(*parts)
    return tensors, changes


@pytest.mark.parametrize("rows", [12, 16])
def test_a_lokr_of_flux2s_joined_layers_changes_each_of_its_layers(rows, tmp_path):
    rack = LoraRack(tiny_flux2_klein(), tmp_path)
    tensors, changes = flux2_lokr(rows)
    rack.write("klein", tensors)
    rack.use("klein")
    attention = "transformer_blocks.0.attn"
    joined = torch.cat([rack.change(f"{attention}.{each}") for each in ("to_q", "to_k", "to_v")])
    assert torch.allclose(joined, changes["double_blocks.0.img_attn.qkv"], atol=1e-6)
    for original, layer in (
        ("double_blocks.0.img_attn.proj", f"{attention}.to_out.0"),
        ("single_blocks.0.linear2", "single_transformer_blocks.0.attn.to_out"),
    ):
        assert torch.allclose(rack.change(layer), changes[original], atol=1e-6)


def flux2_image(pipeline: Any) -> np.ndarray:
    made = pipeline(
        prompt="a fox", height=64, width=64, num_inference_steps=1, max_sequence_length=8, output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip
    return np.asarray(made)


def test_flux2_generates_with_it_what_changed_weights_generate_and_it_leaves_no_trace(tmp_path):
    rack = LoraRack(tiny_flux2_klein(), tmp_path)
    tensors, changes = flux2_lokr(16)
    rack.write("klein", tensors)
    save_lora(tmp_path, "plain", tiny_flux2_klein())
    before = flux2_image(rack.pipeline)
    rack.use("plain")
    plain = flux2_image(rack.pipeline)
    rack.use("klein")
    changed = flux2_image(rack.pipeline)
    rack.use("plain")
    assert (flux2_image(rack.pipeline) == plain).all()
    for name in ("plain", "klein"):
        rack.loras.unload(name)
    assert (flux2_image(rack.pipeline) == before).all()
    block = rack.denoiser.transformer_blocks[0].attn
    for layer, change in zip(
        (block.to_q, block.to_k, block.to_v), changes["double_blocks.0.img_attn.qkv"].chunk(3), strict=True
    ):
        layer.weight.data.add_(change)
    block.to_out[0].weight.data.add_(changes["double_blocks.0.img_attn.proj"])
    rack.denoiser.single_transformer_blocks[0].attn.to_out.weight.data.add_(changes["single_blocks.0.linear2"])
    assert np.abs(flux2_image(rack.pipeline) - changed).max() < 1e-3
    assert np.abs(before - changed).max() > 1e-2


CONV = "down_blocks.0.resnets.0.conv1"
CONVOLUTIONS = ("whole", "of low rank", "with a kernel of its own")


def conv_lokr(kind: str, inputs: int, outputs: int) -> tuple[Tensors, torch.Tensor]:
    """Return the factors for a convolution of 3 × 3, as LyCORIS has them, and its change."""
    first, height, width = random(2, 2, seed=1), outputs // 2, inputs // 2
    if kind == "whole":
        second = random(height, width, 3, 3, seed=2)
        tensors = {"lokr_w2": second}
    elif kind == "of low rank":
        left, right = random(height, 2, seed=2), random(2, width * 9, seed=3)
        second = (left @ right).reshape(height, width, 3, 3)
        tensors = {"lokr_w2_a": left, "lokr_w2_b": right}
    else:
        left, right, core = random(2, height, seed=2), random(2, width, seed=3), random(2, 2, 3, 3, seed=4)
        second = torch.einsum("ijkl,ip,jr->prkl", core, left, right)
        tensors = {"lokr_w2_a": left, "lokr_w2_b": right, "lokr_t2": core}
    return {"lokr_w1": first} | tensors, torch.kron(first[:, :, None, None], second.contiguous())


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_lokr_of_a_convolution_is_its_kronecker_product(kind, tmp_path):
    rack = LoraRack(tiny_stable_diffusion(), tmp_path)
    weight = rack.denoiser.get_submodule(CONV).weight
    tensors, change = conv_lokr(kind, weight.shape[1], weight.shape[0])
    name = f"lycoris_{CONV.replace('.', '_')}"
    rack.write("conv", {f"{name}.{each}": tensor for each, tensor in tensors.items()})
    rack.use("conv")
    assert torch.allclose(rack.change(CONV), change, atol=1e-5)
    rack.loras.unload("conv")
    assert not any("lokr" in key for key, _ in rack.denoiser.named_modules())


def test_afterwards_peft_creates_factors_by_its_own_rule(tmp_path):
    before = LoKrLayer.create_adapter_parameters
    rack = LoraRack(tiny_flux2_klein(), tmp_path)
    rack.write("klein", flux2_lokr(12)[0])
    rack.use("klein")
    assert LoKrLayer.create_adapter_parameters is before
