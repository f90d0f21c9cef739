"""The part of a denoiser that one rank holds, read from the files of the whole: no process ever holds more.

Source: diffusers `models/modeling_utils.py` (`from_pretrained`, 0.42), which makes an empty model and fills it.
"""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from accelerate.utils import set_module_tensor_to_device
from safetensors import safe_open

from imageserver.engine.card_group.sharding.sharded_denoiser import shard
from imageserver.engine.card_group.sharding.sharded_linears import ShardedLinear
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.file_choice import INDEX
from imageserver.engine.models.weight_files.weights import files_of


def load(folder: Path, denoiser: str, dtype: torch.dtype, device: torch.device, part: int, parts: int) -> Any:
    """Return a model's component `denoiser` with the part of rank `part`; raises ModelUnavailable."""
    kind = getattr(diffusers, json.loads((folder / INDEX).read_text(encoding="utf-8"))[denoiser][1])
    with init_empty_weights():
        model = kind.from_config(kind.load_config(str(folder / denoiser), local_files_only=True))
    shard(model, part, parts)
    for file in files_of(folder / denoiser):
        _read(model, file, dtype, device)
    if missing := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        raise ModelUnavailable(f"The files of {denoiser} have no {missing[0]}.")
    return model.to(device).eval()


def _read(model: Any, file: Path, dtype: torch.dtype, device: torch.device) -> None:
    names = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    with safe_open(file, framework="pt", device=str(device)) as content:
        for name in names.intersection(content.keys()):
            owner, _, own = name.rpartition(".")
            layer = model.get_submodule(owner)
            if isinstance(layer, ShardedLinear):
                # A copy: a slice would keep the whole tensor.
                tensor = content.get_slice(name)[layer.index_of(own)].clone()
            else:
                tensor = content.get_tensor(name)
            if tensor.is_floating_point():
                tensor = tensor.to(_format_of(name, model, dtype))
            set_module_tensor_to_device(model, name, device, value=tensor, dtype=tensor.dtype)


def _format_of(name: str, model: Any, dtype: torch.dtype) -> torch.dtype:
    kept = model._keep_in_fp32_modules or ()
    return torch.float32 if any(each in name.split(".") for each in kept) else dtype
