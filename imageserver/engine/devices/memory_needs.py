"""How many bytes a memory plan needs: weights, and what grows with the pixels beside them.

Calculated, not measured here: the shape of the formula and its constants come from published peaks of Z-Image, FLUX.1,
CogView4 and Qwen-Image, which it meets within 12 %; those of the VAE of Qwen-Image were measured on an H100
(docs/performance.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from imageserver.engine.devices.memory_plans import MemoryPlan, WeightFormat

# Bytes per weight, with the scales and the layers that stay in their own format.
QUANTIZED_BYTES: dict[WeightFormat, float] = {"int8": 1.06, "float8": 1.06, "nf4": 0.65}
DENOISERS = {"transformer", "unet"}
# Small, and quantizing them harms images most.
NEVER_QUANTIZED = {"vae", "safety_checker", "image_encoder"}
# The most that a forward of the denoiser and of a text encoder, and a decoding in tiles, take beside the weights.
FORWARD_BYTES, ENCODING_BYTES, TILED_BYTES = 1_200_000_000, 600_000_000, 1_200_000_000
# What a decoding takes per pixel in 16 bits with a VAE of so many channels; others in proportion.
DECODING_BYTES, DECODING_CHANNELS = 4400, 128
# As `single_frame_vae.py` decodes: 1.32 GiB at 1024 x 1024 and 2.22 GiB at 1328 x 1328 on an H100.
QWEN_DECODING_BYTES, QWEN_DECODING_CHANNELS = 1350, 96
# The share of a model moved block by block, or layer by layer, that is on the device at a time.
GROUP_SHARE, LAYER_SHARE = 0.15, 0.05
# Pinned copies and what the pipeline keeps beside weights that wait in RAM.
RAM_OVERHEAD = 1.1


@dataclass(frozen=True)
class ModelWeights:
    """A model's components and their bytes in its number format.

    No plan changes the bytes of `fixed` ones, which are quantized in their files. `decoding` are the bytes that one
    pixel takes while it is decoded, `largest_file` those of the largest file, which loading holds in RAM. `divisible`
    are those of the denoiser that the cards of a group can divide among them. `resident` are those of ControlNets,
    which stay on the device under every plan.
    """

    components: Mapping[str, int]
    fixed: frozenset[str] = field(default_factory=frozenset)
    decoding: float = 0.0
    largest_file: int = 0
    divisible: int = 0
    resident: int = 0

    @property
    def total(self) -> int:
        return sum(self.components.values())


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a plan needs on the device and in RAM."""

    device: int
    ram: int


def decoding_bytes(vae: Mapping[str, Any], dtype: torch.dtype) -> float:
    """Return the bytes that decoding takes per pixel, by the configuration of the VAE."""
    # diffusers decodes with such a VAE in float32.
    itemsize = 4 if dtype == torch.float16 and vae.get("force_upcast") else dtype.itemsize
    if vae.get("_class_name") == "AutoencoderKLQwenImage":
        channels = vae["base_dim"] * vae["dim_mult"][0]
        per_pixel = QWEN_DECODING_BYTES * channels / QWEN_DECODING_CHANNELS
    else:
        # The decoder of FLUX.2's VAE may be smaller than its encoder.
        widths = vae.get("decoder_block_out_channels") or vae.get("block_out_channels") or [DECODING_CHANNELS]
        channels = widths[0]
        per_pixel = DECODING_BYTES * channels / DECODING_CHANNELS
    return float(per_pixel * itemsize / 2)


def is_text_encoder(component: str) -> bool:
    return component.startswith("text_encoder")


def need_of(
    plan: MemoryPlan, weights: ModelWeights, dtype: torch.dtype, pixels: int, *, tiled: bool = False, cards: int = 1
) -> MemoryNeed:
    """Return the memory that a plan needs for an image of `pixels`, decoded as a whole or in tiles.

    With a group of `cards` that is the first one's, which has all but the denoiser to itself.
    """
    share = QUANTIZED_BYTES.get(plan.weights, float(dtype.itemsize)) / dtype.itemsize
    kept = weights.fixed | NEVER_QUANTIZED
    sizes = {name: size if name in kept else int(size * share) for name, size in weights.components.items()}
    beside = {name: _beside(name, size, weights.decoding * pixels, tiled=tiled) for name, size in sizes.items()}
    total, most = sum(sizes.values()), max(beside.values(), default=0)
    if plan.sharded:
        total -= weights.divisible - weights.divisible // cards
    encoders = sum(size for name, size in sizes.items() if is_text_encoder(name))
    on_device = {
        "none": total + most,
        "encoder": total - encoders + max(most, int(encoders * LAYER_SHARE)),
        "model": max((size + beside[name] for name, size in sizes.items()), default=0),
        "group": int(total * GROUP_SHARE) + most,
        "sequential": int(total * LAYER_SHARE) + most,
    }
    waiting = {"none": 0, "encoder": encoders}.get(plan.offload, total)
    return MemoryNeed(
        weights.resident + on_device[plan.offload], max(int(waiting * RAM_OVERHEAD), weights.largest_file)
    )


def _beside(name: str, size: int, decoding: float, *, tiled: bool) -> int:
    """Return the bytes that computing with a component takes beside it; a small one takes little."""
    if name == "vae":
        return int(min(decoding, TILED_BYTES) if tiled else decoding)
    return min(size, ENCODING_BYTES if is_text_encoder(name) else FORWARD_BYTES)
