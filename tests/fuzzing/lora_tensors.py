"""Reads LoRA files for a small model, and where fuzzing them begins: one file in the words of each trainer."""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from imageserver.engine.lora_formats.adapter import read_adapter
from imageserver.engine.lora_formats.model_layers import ModelLayers
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tensor_file import ADAPTER_METADATA

SIDE, RANK = 4, 2
WORDS = (
    "lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight", "lora_mid.weight", ".alpha", "dora_scale",
    "diff", "diff_b", "hada_w1_a", "lokr_w1", "lokr_w2_b", "transformer.", "lora_unet_", "F32", "F16", "BF16", "I8",
    "BOOL", "F8_E4M3", "shape", "data_offsets", ADAPTER_METADATA, "transformer.lora_alpha", "alpha_pattern",
)  # fmt: skip


def _model() -> ModelLayers:
    layers = {"linear": torch.nn.Linear(SIDE, SIDE), "kernel": torch.nn.Conv2d(SIDE, SIDE, 3)}
    return ModelLayers({"transformer": torch.nn.ModuleDict(layers)}, "transformer")


def read(file: Path) -> None:
    """Read a file whole, or not at all: a client is told of every exception."""
    try:
        adapters = read_adapter(file, MODEL)
    except Exception as error:
        raise LoraRefused(str(error)) from error
    for adapter in adapters.values():
        for name, tensor in adapter.tensors.items():
            if not torch.isfinite(tensor).all():
                raise AssertionError(f"{name} is not finite.")


def _file(layer: str, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> bytes:
    tensors = {f"{layer}.{name}": torch.full(shape, 0.5, dtype=torch.float16) for name, shape in shapes.items()}
    return save(tensors, metadata)


DOWN, UP = (RANK, SIDE), (SIDE, RANK)
PEFT = json.dumps({"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"linear": 1}})
MODEL = _model()
SEEDS = (
    _file("transformer.linear", {"lora_A.weight": DOWN, "lora_B.weight": UP}, {ADAPTER_METADATA: PEFT}),
    _file("lora_unet_linear", {"lora_down.weight": DOWN, "lora_up.weight": UP, "alpha": (), "dora_scale": (SIDE, 1)}),
    _file(
        "kernel", {"lora_down.weight": (2, 4, 1, 1), "lora_up.weight": (4, 2, 1, 1), "lora_mid.weight": (2, 2, 3, 3)}
    ),
    _file("linear", {"hada_w1_a": UP, "hada_w1_b": DOWN, "hada_w2_a": UP, "hada_w2_b": DOWN, "alpha": ()}),
    _file("linear", {"lokr_w1": (2, 2), "lokr_w2_a": (2, 1), "lokr_w2_b": (1, 2), "alpha": ()}),
    _file("linear", {"diff": (SIDE, SIDE), "diff_b": (SIDE,)}),
)
