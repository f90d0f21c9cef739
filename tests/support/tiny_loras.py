"""LoRA files with random weights for the tiny models, as diffusers' training scripts write them."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file


def save_lora(folder: Path, name: str, pipeline: Any, *, seed: int = 0, text: bool = False, **profile: Any) -> Path:
    """Write `name.safetensors` for a pipeline, `text` also for its text encoder, and its profile if it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    denoiser = "unet" if hasattr(pipeline, "unet") else "transformer"
    layers = {f"{denoiser}_lora_layers": _layers(getattr(pipeline, denoiser), ["to_q", "to_v"], seed)}
    if text:
        layers["text_encoder_lora_layers"] = _layers(pipeline.text_encoder, ["q_proj", "v_proj"], seed)
    type(pipeline).save_lora_weights(folder, weight_name=f"{name}.safetensors", **layers)
    if profile:
        (folder / f"{name}.json").write_text(json.dumps(profile))
    return folder / f"{name}.safetensors"


def save_lokr(folder: Path, name: str, denoiser: torch.nn.Module, *, rank: int = 0) -> Path:
    """Write a LoKr for a denoiser in sizes that peft would not choose; without a rank both factors are whole."""
    generator = torch.Generator().manual_seed(rank)
    tensors: dict[str, torch.Tensor] = {}
    for layer, module in denoiser.named_modules():
        if layer.endswith(("attn.to_q", "attn.to_v")):
            height, width = (size // 4 for size in module.weight.shape)
            shapes = {"w2_a": (height, rank), "w2_b": (rank, width)} if rank else {"w2": (height, width)}
            for factor, shape in ({"w1": (4, 4)} | shapes).items():
                tensors[f"transformer.{layer}.lokr_{factor}"] = torch.randn(shape, generator=generator)
            tensors[f"transformer.{layer}.alpha"] = torch.tensor(1.0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def _layers(part: torch.nn.Module, targets: list[str], seed: int) -> dict[str, torch.Tensor]:
    part = copy.deepcopy(part)
    part.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.5
        for name, tensor in get_peft_model_state_dict(part).items()
    }
