"""A whole model in one safetensors file, as Stable Diffusion 1.5 and XL and what was trained from them are published.

It contains weights alone: the configuration is that of the model that it was trained from.
Source: diffusers `loaders/single_file_utils.py` (`infer_diffusers_model_type`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from imageserver.engine import file_kinds
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models.weight_files import checkpoint_names
from imageserver.engine.weight_names import owner_of
from imageserver.safetensors_header import DamagedHeader, SafetensorsHeader, read_header

SUFFIX = ".safetensors"
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
# Of an image's latents alone; more are those of a mask and a masked image, or of an image to edit.
LATENT_CHANNELS = 4
# The component that the names with each beginning belong to.
STABLE_DIFFUSION = {
    "model.diffusion_model.": "unet", "first_stage_model.": "vae", "cond_stage_model.transformer.": "text_encoder",
}  # fmt: skip
STABLE_DIFFUSION_XL = {
    "model.diffusion_model.": "unet",
    "first_stage_model.": "vae",
    "conditioner.embedders.0.transformer.": "text_encoder",
    "conditioner.embedders.1.model.": "text_encoder_2",
}
# By the name of the model whose configuration it needs.
LAYOUTS = {"sd-xl-base": STABLE_DIFFUSION_XL, "sd-1.5": STABLE_DIFFUSION}
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"


@dataclass(frozen=True)
class Checkpoint:
    """A file, the name of the model whose configuration it needs, and the elements of each component's weights.

    `noise` are the changes to that model's noise scheduler which the file asks for.
    """

    file: Path
    base: str
    elements: Mapping[str, int]
    noise: Mapping[str, Any] = field(default_factory=dict)

    def bytes_by_component(self, dtype: torch.dtype) -> dict[str, int]:
        """Return the bytes of the components loaded in `dtype`."""
        return {name: elements * dtype.itemsize for name, elements in self.elements.items()}


def read_checkpoint(file: Path) -> Checkpoint:
    """Return what a file contains; raises ModelUnavailable for one that cannot be served."""
    try:
        header = read_header(file)
    except DamagedHeader as error:
        raise ModelUnavailable(f"MODEL={file.name} {file_kinds.complaint(file)}.") from error
    size = file.stat().st_size
    if size != header.file_bytes:
        raise ModelUnavailable(f"MODEL={file.name} has {size} of {header.file_bytes} bytes.")
    for base, layout in LAYOUTS.items():
        if all(any(name.startswith(beginning) for name in header.tensors) for beginning in layout):
            _refuse_unlike(file, header)
            noise: dict[str, Any] = {"prediction_type": "v_prediction"} if V_PREDICTION in header.tensors else {}
            noise |= {"rescale_betas_zero_snr": True} if ZERO_SNR in header.tensors else {}
            return Checkpoint(file, base, _elements(header, layout), noise)
    raise ModelUnavailable(f"MODEL={file.name} {_complaint(header)}.")


def _elements(header: SafetensorsHeader, layout: Mapping[str, str]) -> dict[str, int]:
    return {
        component: sum(math.prod(tensor.shape) for name, tensor in header.tensors.items() if name.startswith(beginning))
        for beginning, component in layout.items()
    }


def _refuse_unlike(file: Path, header: SafetensorsHeader) -> None:
    first = header.tensors.get(FIRST_LAYER)
    if first is not None and len(first.shape) > 1 and first.shape[1] != LATENT_CHANNELS:
        raise ModelUnavailable(
            f"MODEL={file.name} reads {first.shape[1]} channels: it is a model for inpainting or edits, whose file "
            "alone cannot be served; take its folder in diffusers' layout."
        )


def _complaint(header: SafetensorsHeader) -> str:
    """Return what a file is if it is not a whole Stable Diffusion 1.5 or XL."""
    names = header.tensors
    if complaint := checkpoint_names.complaint(names):
        return complaint
    if any(name.startswith("cond_stage_model.model.") for name in names):
        return "is a Stable Diffusion 2: single files are served of Stable Diffusion 1.5 and XL"
    if any(name.startswith("conditioner.") for name in names):
        return "is a refiner of Stable Diffusion XL, which generates no images of its own"
    if FIRST_LAYER in names:
        return "has no VAE or no text encoder inside: take a file with all parts"
    owner = owner_of(names)
    whose = f" of {owner}" if owner else ""
    return (
        f"contains the transformer{whose} alone: name its model's folder or id in MODEL, and this file in "
        "TRANSFORMER_FILE"
    )
