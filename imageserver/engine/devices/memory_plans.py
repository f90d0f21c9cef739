"""How a model is fitted into memory: as it is, with its components moved in and out, or with weights of fewer bits.

The bytes are those of the weights in their files; the rest of a plan's need is an estimate (`MEMORY_OVERHEAD`).
"""

import importlib.util
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

from imageserver.engine.devices import devices
from imageserver.engine.pipelines.types import Pipeline
from imageserver.generation import MemoryPlanName

GIB = 1024**3
# What a pipeline needs beside its weights, as a share of them.
MEMORY_OVERHEAD = 1.1
# The share of a model moved block by block, or layer by layer, that is on the device at a time.
GROUP_SHARE = 0.15
LAYER_SHARE = 0.05
# Bytes per weight, with the scales and the layers that stay in their own format.
INT8_BYTES, NF4_BYTES = 1.1, 0.65
# Small, and quantizing them harms images most.
NEVER_QUANTIZED = {"vae", "safety_checker", "image_encoder"}
DENOISERS = {"transformer", "unet"}
LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True)
class MemoryPlan:
    """One way to fit a model; `sentence` describes it to users."""

    name: MemoryPlanName
    sentence: str
    offload: Literal["none", "model", "group", "sequential"] = "none"
    bits: Literal[None, 8, 4] = None
    spread: bool = False


# The fastest first.
PLANS = (
    MemoryPlan("full", "the whole model stays on the device"),
    MemoryPlan("int8", "transformer and text encoders stay on the device with weights of 8 bits", bits=8),
    MemoryPlan("model-offload", "weights wait in RAM, one part at a time is on the device", offload="model"),
    MemoryPlan(
        "int8-offload", "weights of 8 bits wait in RAM, one part at a time is on the device", offload="model", bits=8
    ),
    MemoryPlan("nf4", "transformer and text encoders stay on the device with weights of 4 bits", bits=4),
    MemoryPlan("group-offload", "weights wait in RAM and come to the device block by block", offload="group"),
    MemoryPlan("sequential-offload", "weights wait in RAM and come to the device layer by layer", offload="sequential"),
    MemoryPlan("device-map", "the model's parts are spread over all devices of the kind", spread=True),
)
BY_NAME = {plan.name: plan for plan in PLANS}
# Used only by name: nf4 needs its own package and its images differ most; device-map occupies all devices.
NOT_AUTOMATIC = {"nf4", "device-map"}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a plan needs on the device and in RAM."""

    device: int
    ram: int


class NoPlanFits(Exception):
    """The memory cannot hold the model this way; the message, one sentence, names the plans that would fit."""


def need_of(plan: MemoryPlan, weights: Mapping[str, int], dtype: torch.dtype) -> MemoryNeed:
    """Return the memory that a plan needs; `weights` are the bytes of every component in `dtype`."""
    per_weight = {None: float(dtype.itemsize), 8: INT8_BYTES, 4: NF4_BYTES}[plan.bits]
    sizes = {
        name: size if name in NEVER_QUANTIZED else int(size * per_weight / dtype.itemsize)
        for name, size in weights.items()
    }
    total, largest = int(sum(sizes.values()) * MEMORY_OVERHEAD), int(max(sizes.values(), default=0) * MEMORY_OVERHEAD)
    on_device = {"none": total, "model": largest, "group": int(total * GROUP_SHARE), "sequential": total * LAYER_SHARE}
    return MemoryNeed(int(on_device[plan.offload]), 0 if plan.offload == "none" else total)


def choose(
    wanted: MemoryPlanName | Literal["auto"], model: str, weights: Mapping[str, int], dtype: torch.dtype,
    device: torch.device, reclaimable: int = 0,
) -> tuple[MemoryPlan, str]:  # fmt: skip
    """Return the plan and, in one sentence, the reason for it; raises NoPlanFits.

    `auto` is the fastest plan that fits. A plan that this device does not support is refused. `reclaimable` bytes count
    as free: those of models that would be unloaded.
    """
    free = devices.free_memory(device) + reclaimable
    usable = [plan for plan in PLANS if obstacle(plan, device) is None]
    fitting = [plan for plan in usable if fits(plan, weights, dtype, device, reclaimable)]
    whole = need_of(PLANS[0], weights, dtype).device
    memory = f"{model} needs about {whole / GIB:.1f} GiB and {devices.gpu_name(device)} has {free / GIB:.1f} GiB free"
    if wanted != "auto":
        plan = BY_NAME[wanted]
        reason = obstacle(plan, device)
        if reason is not None:
            raise NoPlanFits(f"MEMORY={wanted} is not possible here: {reason}.")
        if plan in fitting:
            return plan, f"MEMORY={wanted} was asked for: {plan.sentence}."
        raise NoPlanFits(f"{memory}, too little for MEMORY={wanted}: {_advice(fitting)}.")
    automatic = [plan for plan in fitting if plan.name not in NOT_AUTOMATIC]
    if not automatic:
        raise NoPlanFits(f"{memory}: {_advice(fitting)}.")
    if automatic[0] is PLANS[0]:
        return PLANS[0], f"MEMORY=auto: {PLANS[0].sentence}."
    return automatic[0], f"MEMORY=auto: {memory}, so {automatic[0].sentence} (MEMORY={automatic[0].name})."


def fits(
    plan: MemoryPlan, weights: Mapping[str, int], dtype: torch.dtype, device: torch.device, reclaimable: int = 0
) -> bool:
    """Return whether there is the memory for a plan, `reclaimable` bytes more than are free."""
    need = need_of(plan, weights, dtype)
    used = devices.all_of_kind(device) if plan.spread else [device]
    free = reclaimable + sum(map(devices.free_memory, used))
    return need.device <= free and need.ram <= reclaimable + devices.free_memory(torch.device("cpu"))


def obstacle(plan: MemoryPlan, device: torch.device) -> str | None:
    """Return why a plan cannot be used on a device at all, None where it can."""
    if plan.offload != "none" and not devices.is_accelerator(device):
        return "a CPU has no other memory to move weights to"
    if plan.bits == 4 and device.type != "cuda":
        return "weights of 4 bits need a CUDA device"
    package = {None: None, 8: "torchao", 4: "bitsandbytes"}[plan.bits]
    if package is not None and importlib.util.find_spec(package) is None:
        return f"it needs the package {package}"
    return None


def loading_options(plan: MemoryPlan, folder: Path, given: Collection[str]) -> dict[str, Any]:
    """Return the options of `from_pretrained` that quantize weights while they are read, but not those `given`."""
    if plan.spread:
        # Source: diffusers `DiffusionPipeline.from_pretrained`: whole components, the largest first.
        return {"device_map": "balanced"}
    wanted = {name: library for name, library in _quantizable(folder).items() if name not in given}
    if plan.bits is None or not wanted:
        return {}
    mapping = {name: quantization_of(plan, library) for name, library in wanted.items()}
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}


def move_to_device(pipeline: Pipeline, plan: MemoryPlan, device: torch.device) -> None:
    """Move a loaded pipeline as the plan says; `device-map` has spread it while loading."""
    if plan.spread:
        return
    match plan.offload:
        case "none":
            pipeline.to(device)
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "group":
            _offload_in_groups(pipeline, device)
        case "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)


def _offload_in_groups(pipeline: Pipeline, device: torch.device) -> None:
    """Move the denoiser block by block and everything else layer by layer.

    A text encoder would move as one block, because its layers are nested deeper than diffusers looks, and a VAE's
    blocks stay behind where `encode` or `decode` is called: only its own `forward` would bring them.
    """
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            blocks = name in DENOISERS
            apply_group_offloading(
                component,
                onload_device=device,
                offload_type="block_level" if blocks else "leaf_level",
                num_blocks_per_group=1 if blocks else None,
                # The next one is copied while this one computes; only CUDA has the streams for it.
                use_stream=device.type == "cuda",
            )


def _advice(fitting: list[MemoryPlan]) -> str:
    names = " or ".join(f"MEMORY={plan.name}" for plan in fitting)
    return f"what fits is {names}" if names else "choose a quantized or smaller model, or MODEL=demo"


def _quantizable(folder: Path) -> dict[str, str]:
    """Return the components that have weights worth it, with the library of each."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return {
        name: entry[0]
        for name, entry in index.items()
        if isinstance(entry, list)
        and entry[0] in LIBRARIES
        and name not in NEVER_QUANTIZED
        and any((folder / name).glob("*.safetensors"))
    }


def quantization_of(plan: MemoryPlan, library: str) -> Any:
    """Return the configuration that a component of diffusers or transformers is loaded with; None for whole weights."""
    if plan.bits is None:
        return None
    library_module: Any = diffusers if library == "diffusers" else transformers
    if plan.bits == 8:
        from torchao.quantization import Int8WeightOnlyConfig

        return library_module.TorchAoConfig(Int8WeightOnlyConfig())
    return library_module.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
