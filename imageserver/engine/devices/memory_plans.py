"""The ways to fit a model into memory: as it is, with its parts moved in and out, or with weights of fewer bits."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

import torch

from imageserver.engine.devices import devices
from imageserver.generation import MemoryPlanName

Offload = Literal["none", "encoder", "model", "group", "sequential"]
# As the files have them, or quantized while they are read.
WeightFormat = Literal["whole", "int8", "float8", "nf4"]

PACKAGES: dict[WeightFormat, str] = {"int8": "torchao", "float8": "torchao", "nf4": "bitsandbytes"}
# The first CUDA cards that multiply numbers of 8 bits: Ada and Hopper.
FLOAT8_CAPABILITY = (8, 9)


@dataclass(frozen=True)
class MemoryPlan:
    """One way to fit a model; `sentence` describes it to users."""

    name: MemoryPlanName
    sentence: str
    offload: Offload = "none"
    weights: WeightFormat = "whole"
    spread: bool = False
    sharded: bool = False


# The fastest first.
PLANS = (
    MemoryPlan("full", "the whole model stays on the device"),
    MemoryPlan("tensor-parallel", "each card of the group holds a part of the transformer", sharded=True),
    MemoryPlan("float8", "transformer and text encoders stay on the device with float8 weights", weights="float8"),
    MemoryPlan("int8", "transformer and text encoders stay on the device with weights of 8 bits", weights="int8"),
    MemoryPlan(
        "encoder-offload",
        "the transformer stays on the device, text encoders wait in RAM and come layer by layer",
        offload="encoder",
    ),
    MemoryPlan("model-offload", "weights wait in RAM, one part at a time is on the device", offload="model"),
    MemoryPlan(
        "int8-offload",
        "weights of 8 bits wait in RAM, one part at a time is on the device",
        offload="model",
        weights="int8",
    ),
    MemoryPlan("nf4", "transformer and text encoders stay on the device with weights of 4 bits", weights="nf4"),
    MemoryPlan("group-offload", "weights wait in RAM and come to the device block by block", offload="group"),
    MemoryPlan("sequential-offload", "weights wait in RAM and come to the device layer by layer", offload="sequential"),
    MemoryPlan("device-map", "the model's parts are spread over all devices of the kind", spread=True),
)
BY_NAME = {plan.name: plan for plan in PLANS}
# Used only by name: float8 has been measured nowhere, nf4 needs its own package and its images differ most, device-map
# occupies all devices.
NOT_AUTOMATIC = {"float8", "nf4", "device-map"}


def obstacle(plan: MemoryPlan, device: torch.device, cards: int = 1) -> str | None:
    """Return why a plan cannot be used on a device, one of so many `cards`, at all; None where it can."""
    if plan.sharded and cards < 2:
        return "it needs a group of cards, such as DEVICES=cuda:0+cuda:1, and no COMPILE=1"
    if plan.offload != "none" and devices.shares_memory(device):
        kind = "a CPU" if device.type == "cpu" else "a device that shares the machine's memory"
        return f"{kind} has no other memory to move weights to"
    if plan.weights == "nf4" and device.type != "cuda":
        return "weights of 4 bits need a CUDA device"
    if plan.weights == "float8" and devices.compute_capability(device) < FLOAT8_CAPABILITY:
        return "float8 weights need a CUDA device of compute capability 8.9 or later"
    package = PACKAGES.get(plan.weights)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"it needs the package {package}"
    return None
