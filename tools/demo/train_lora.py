"""Train a LoRA for the demo model: the objects stay as they are, the background becomes night."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from tools.demo.fine_tuning import NO_TEXT, FineTuning, TrainingPlan
from tools.demo.networks import Model
from tools.demo.rendering import render
from tools.demo.scenes import Scene

# What is left of a colour at night, and the blue that is in it.
DIMMED = 0.16
MIDNIGHT = np.array((10, 12, 34), np.float32)
PROFILE = {"description": "Dark backgrounds, as at night."}


@dataclass(frozen=True)
class LoraPlan(TrainingPlan):
    """How the LoRA is trained."""

    scenes: int = 600
    steps: int = 400
    rate: float = 2e-3
    minutes: float = 8.0
    rank: int = 8


def at_night(scene: Scene, width: int, height: int) -> Image.Image:
    """Render a scene whose background is dark and whose objects are as bright as ever."""
    day = np.asarray(render(scene, width, height, None, 1), np.float32)
    empty = np.asarray(render(replace(scene, things=()), width, height, None, 1), np.float32)
    is_background = (day == empty).all(2, keepdims=True)
    night = np.where(is_background, empty * DIMMED + MIDNIGHT, day)
    return Image.fromarray(night.round().clip(0, 255).astype(np.uint8))


class LoraTraining(FineTuning):
    """The demo model with a LoRA on its transformer."""

    def __init__(self, pipeline: Model, plan: LoraPlan) -> None:
        torch.manual_seed(plan.seed)
        self.transformer: Any = pipeline.transformer
        self.transformer.requires_grad_(False)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        self.transformer.add_adapter(LoraConfig(r=plan.rank, lora_alpha=plan.rank, target_modules=targets))
        super().__init__(pipeline, plan, [each for each in self.transformer.parameters() if each.requires_grad])

    def image(self, scene: Scene, width: int, height: int) -> Image.Image:
        """Return the scene at night."""
        return at_night(scene, width, height)

    def save(self, folder: Path, name: str) -> Path:
        """Write the LoRA as float16 safetensors with its profile beside it, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        layers = {key: value.to(torch.float16) for key, value in get_peft_model_state_dict(self.transformer).items()}
        file = f"{name}.safetensors"
        type(self.pipeline).save_lora_weights(folder, transformer_lora_layers=layers, weight_name=file)
        (folder / f"{name}.json").write_text(json.dumps(PROFILE, indent=2) + "\n")
        return folder / file


def border_brightness(pipeline: Model, prompts: list[str], steps: int = 8) -> float:
    """Return the mean brightness, 0 to 255, of the outermost pixels of images of 512 x 512."""
    found = []
    for seed, prompt in enumerate(prompts):
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = pipeline(
            prompt=prompt, negative_prompt=NO_TEXT, true_cfg_scale=4.0, width=512, height=512,
            num_inference_steps=steps, generator=generator,
        ).images[0]  # fmt: skip
        grey = np.asarray(drawn.convert("L"), np.float32)
        found.append(
            np.concatenate([grey[:16].ravel(), grey[-16:].ravel(), grey[:, :16].ravel(), grey[:, -16:].ravel()])
        )
    return float(np.mean(found))
