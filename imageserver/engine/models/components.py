"""The parts of a model's folder that have weights, each read from its files straight to where its plan has it.

Read through the machine's memory first, a model takes as many bytes there as on the device: a machine of 32 GB beside a
card of 80 GB ends the engine. diffusers' own `device_map` of a pipeline knows no device number, and transformers takes
`cuda` for the first card.
"""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.devices import placement
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.models.weight_files.weights import component_variant, is_quantized


def load_components(
    folder: Path, plan: MemoryPlan, dtype: torch.dtype, device: torch.device, left_out: Collection[str]
) -> dict[str, torch.nn.Module]:
    """Return every component with weights but those `left_out`, by its name in the pipeline.

    A plan that spreads components leaves all of them to diffusers.
    """
    if plan.spread:
        return {}
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    found = {}
    for name, entry in index.items():
        if name in left_out or not isinstance(entry, list) or entry[0] not in placement.LIBRARIES:
            continue
        kind = getattr(placement.LIBRARIES[entry[0]], entry[1], None)
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module) and any((folder / name).glob("*.safetensors")):
            found[name] = _load(kind, folder / name, name, entry[0], plan, dtype, device)
    return found


def _load(
    kind: Any, folder: Path, name: str, library: str, plan: MemoryPlan, dtype: torch.dtype, device: torch.device
) -> torch.nn.Module:
    if is_quantized(folder):
        plan = dataclasses.replace(plan, weights="whole")
    options = placement.loading_options(plan, name, library, device)
    format_name = "dtype" if library == "transformers" else "torch_dtype"
    component: torch.nn.Module = kind.from_pretrained(
        str(folder), variant=component_variant(folder), use_safetensors=True, local_files_only=True,
        **{format_name: dtype}, **options,
    )  # fmt: skip
    placement.put_to_rest(component, plan, name, device)
    return component
