"""The settings that a LoRA was made for: its own profile, or the published one of a file that is known by its name.

Sources: the scripts and model cards of lightx2v/Qwen-Image-Lightning, Qwen-Image-2512-Lightning and
Qwen-Image-Edit-2511-Lightning, and of ByteDance/SDXL-Lightning.
"""

import math
import re
from typing import Any

import msgspec

QWEN_LIGHTNING = re.compile(
    r"Qwen-Image(?:-2512|-Edit|-Edit-2509|-Edit-2511)?-Lightning-([48])steps\b.*", re.IGNORECASE
)
SDXL_LIGHTNING = re.compile(r"sdxl_lightning_([248])step_lora\b.*", re.IGNORECASE)
# Distilled with a shift of 3 at every size.
QWEN_LIGHTNING_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "base_image_seq_len": 256,
    "base_shift": math.log(3),
    "max_image_seq_len": 8192,
    "max_shift": math.log(3),
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}
SDXL_LIGHTNING_SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}


class LoraProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The defaults of requests that use a LoRA.

    `scheduler` is a noise scheduler's name, or a configuration as in `scheduler_config.json` that
    changes the model's own.
    """

    num_inference_steps: int | None = None
    true_cfg_scale: float | None = None
    scheduler: str | dict[str, Any] | None = None
    scale: float = 1.0
    description: str = ""


def published_profile(name: str) -> LoraProfile:
    """Return the profile of a LoRA whose file still has its published name; an empty one for any other."""
    if match := QWEN_LIGHTNING.fullmatch(name):
        return _few_steps(int(match[1]), guidance=1.0, scheduler=QWEN_LIGHTNING_SCHEDULER)
    if match := SDXL_LIGHTNING.fullmatch(name):
        return _few_steps(int(match[1]), guidance=0.0, scheduler=SDXL_LIGHTNING_SCHEDULER)
    return LoraProfile()


def _few_steps(steps: int, *, guidance: float, scheduler: dict[str, Any]) -> LoraProfile:
    return LoraProfile(
        num_inference_steps=steps,
        true_cfg_scale=guidance,
        scheduler=scheduler,
        description=f"Images in {steps} steps (the published settings, known by the file's name).",
    )
