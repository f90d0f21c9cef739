"""Where a memory plan has each component, while it is loaded and afterwards."""

from typing import Any

import diffusers
import torch
import transformers
from diffusers.hooks.group_offloading import apply_group_offloading

from imageserver.engine.devices.memory_needs import DENOISERS, NEVER_QUANTIZED, is_text_encoder
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.pipelines.types import Pipeline

LIBRARIES: dict[str, Any] = {"diffusers": diffusers, "transformers": transformers}
CPU = torch.device("cpu")


def place_of(plan: MemoryPlan, name: str, device: torch.device) -> torch.device:
    """Return where a component is before the pipeline's hooks move it."""
    if plan.offload == "none" or (plan.offload == "encoder" and not is_text_encoder(name)):
        return device
    return CPU


def loading_options(plan: MemoryPlan, name: str, library: str, device: torch.device) -> dict[str, Any]:
    """Return the options of `from_pretrained` with which a component is read to its place, and quantized on the way.

    What is quantized is read to the device even where it does not stay: a CPU takes minutes for it.
    """
    quantization = None if name in NEVER_QUANTIZED else quantization_of(plan, library)
    options: dict[str, Any] = {} if quantization is None else {"quantization_config": quantization}
    place = place_of(plan, name, device) if quantization is None else device
    # Read to the CPU without a map, weights stay in their files until they are used.
    return options if place.type == "cpu" else options | {"device_map": {"": place}}


def put_to_rest(component: torch.nn.Module, plan: MemoryPlan, name: str, device: torch.device) -> None:
    """Move a component that was quantized on the device to where it waits."""
    if plan.weights != "whole" and place_of(plan, name, device) == CPU:
        component.to(CPU)


def move_to_device(pipeline: Pipeline, plan: MemoryPlan, device: torch.device) -> None:
    """Move a loaded pipeline as the plan says; `device-map` has spread it while loading."""
    if plan.spread:
        return
    match plan.offload:
        case "none":
            pipeline.to(device)
        case "encoder":
            _offload_encoders(pipeline, device)
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "group":
            _offload_in_groups(pipeline, device)
        case "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)


def quantization_of(plan: MemoryPlan, library: str) -> Any:
    """Return the configuration that a component of diffusers or transformers is loaded with; None for whole weights."""
    match plan.weights:
        case "whole":
            return None
        case "nf4":
            return LIBRARIES[library].BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
        case "int8":
            from torchao.quantization import Int8WeightOnlyConfig

            return LIBRARIES[library].TorchAoConfig(Int8WeightOnlyConfig())
        case "float8":
            from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow

            return LIBRARIES[library].TorchAoConfig(Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()))


def _offload_encoders(pipeline: Pipeline, device: torch.device) -> None:
    """Stream the text encoders and keep everything else on the device.

    An encoder works once for each new prompt, the denoiser in every step.
    """
    for name, component in _modules_of(pipeline):
        if is_text_encoder(name):
            _offload(component, device, "leaf_level")
        else:
            component.to(device)


def _offload_in_groups(pipeline: Pipeline, device: torch.device) -> None:
    """Move the denoiser block by block and everything else layer by layer.

    A text encoder would move as one block, because its layers are nested deeper than diffusers looks, and a VAE's
    blocks stay behind where `encode` or `decode` is called: only its own `forward` would bring them.
    """
    for name, component in _modules_of(pipeline):
        _offload(component, device, "block_level" if name in DENOISERS else "leaf_level")


def _offload(component: torch.nn.Module, device: torch.device, kind: str) -> None:
    apply_group_offloading(
        component,
        onload_device=device,
        offload_type=kind,
        num_blocks_per_group=1 if kind == "block_level" else None,
        # The next one is copied while this one computes; only CUDA has the streams for it.
        use_stream=device.type == "cuda",
    )


def _modules_of(pipeline: Pipeline) -> list[tuple[str, torch.nn.Module]]:
    components = pipeline.components.items()
    return [(name, component) for name, component in components if isinstance(component, torch.nn.Module)]
