"""A tiny model for each registered family, by its name."""

from collections.abc import Callable
from typing import Any

from tests.support import tiny_models
from tests.support.tiny_ernie_image import tiny_ernie_image
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_qwen_image_21 import tiny_qwen_image_21
from tests.support.tiny_qwen_image_layered import tiny_qwen_image_layered

TINY_MODELS: dict[str, Callable[[], Any]] = {
    "qwen-image": tiny_models.tiny_qwen_image,
    "qwen-image-edit": tiny_models.tiny_qwen_image_edit,
    "qwen-image-edit-plus": lambda: tiny_models.tiny_qwen_image_edit(plus=True),
    "qwen-image-2.1": tiny_qwen_image_21,
    "qwen-image-layered": tiny_qwen_image_layered,
    "stable-diffusion": tiny_models.tiny_stable_diffusion,
    "stable-diffusion-xl": tiny_models.tiny_stable_diffusion_xl,
    "cogview4": tiny_models.tiny_cogview4,
    "hidream-i1": tiny_models.tiny_hidream,
    "flux": tiny_models.tiny_flux,
    "flux.2-klein": tiny_flux2_klein,
    "z-image": tiny_models.tiny_z_image,
    "ernie-image": tiny_ernie_image,
}
