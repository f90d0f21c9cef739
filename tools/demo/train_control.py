"""Train a ControlNet for the demo model: white silhouettes on black say where the objects stand."""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageControlNetModel, QwenImageControlNetPipeline
from PIL import Image, ImageDraw

from tools.demo.fine_tuning import NO_TEXT, Example, FineTuning, TrainingPlan
from tools.demo.networks import Model
from tools.demo.rendering import render
from tools.demo.scenes import Scene, sample_scene

# Where the middle of a single object may stand, and its radius, as shares of the image.
PLACES = (0.2, 0.8)
RADII = (0.1, 0.24)
# How far objects that stand in a line leave it.
ASIDE = 0.22
WHITE = 255


@dataclass(frozen=True)
class ControlPlan(TrainingPlan):
    """How the ControlNet is trained: with copies of the first `layers` blocks of the transformer."""

    scenes: int = 2500
    steps: int = 2000
    rate: float = 1e-3
    minutes: float = 20.0
    layers: int = 1


def wandering(scene: Scene, generator: random.Random) -> Scene:
    """Return a scene whose single object stands anywhere in any size, which its text does not mention.

    Several objects leave their line, and the text about them stays true.
    """
    if len(scene.things) != 1:
        axis = "x" if scene.relation == "column" else "y"
        moved = [
            replace(thing, **{axis: getattr(thing, axis) + generator.uniform(-ASIDE, ASIDE)}) for thing in scene.things
        ]
        return replace(scene, things=tuple(moved))
    [thing] = scene.things
    anywhere = replace(
        thing,
        x=generator.uniform(*PLACES),
        y=generator.uniform(*PLACES),
        radius=generator.uniform(*RADII),
        told=thing.told - {"place", "size"},
    )
    return replace(scene, things=(anywhere,))


def silhouettes(scene: Scene, width: int, height: int) -> Image.Image:
    """Render the objects of a scene in white, and what is behind them in black."""
    full = np.asarray(render(scene, width, height, None, 1))
    empty = np.asarray(render(replace(scene, things=()), width, height, None, 1))
    is_object = (full != empty).any(2)
    return Image.fromarray(np.where(is_object, WHITE, 0).astype(np.uint8)).convert("RGB")


class ControlTraining(FineTuning):
    """The demo model and a ControlNet beside it."""

    def __init__(self, pipeline: Model, plan: ControlPlan) -> None:
        torch.manual_seed(plan.seed)
        transformer = pipeline.transformer.requires_grad_(False)
        self.net: Any = QwenImageControlNetModel.from_transformer(
            transformer,
            num_layers=plan.layers,
            attention_head_dim=transformer.config.attention_head_dim,
            num_attention_heads=transformer.config.num_attention_heads,
        )
        # Which from_transformer leaves as it is.
        self.net.txt_norm.load_state_dict(transformer.txt_norm.state_dict())
        super().__init__(pipeline, plan, list(self.net.parameters()))

    def sample(self, generator: random.Random) -> Scene:
        """Return a scene whose objects stand where only the silhouettes tell."""
        return wandering(sample_scene(generator), generator)

    def control(self, scene: Scene, width: int, height: int) -> Image.Image:
        """Return the silhouettes."""
        return silhouettes(scene, width, height)

    def beside(self, chosen: list[Example], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the ControlNet makes of the silhouettes."""
        guides = torch.stack([each.control for each in chosen if each.control is not None])
        return {"controlnet_block_samples": self.net(controlnet_cond=guides, **arguments)}

    def save(self, folder: Path) -> Path:
        """Write the ControlNet in float16, and return its file."""
        torch.nn.Module.to(copy.deepcopy(self.net), torch.float16).save_pretrained(folder)  # diffusers' own to() warns
        return folder / "diffusion_pytorch_model.safetensors"


def overlap(pipeline: Model, net: Any, scale: float, steps: int = 8) -> float:
    """Return how well red discs cover the discs that guide them, 0 to 1: the mean intersection over union of four.

    The images are 512 x 512; `scale` 0 shows where the discs stand without guidance.
    """
    guided = QwenImageControlNetPipeline.from_pipe(pipeline, controlnet=net)
    guided.set_progress_bar_config(disable=True)
    found = []
    for seed, (x, y) in enumerate(((150, 160), (360, 150), (160, 350), (350, 360))):
        guide = Image.new("L", (512, 512))
        ImageDraw.Draw(guide).ellipse((x - 80, y - 80, x + 80, y + 80), fill=WHITE)
        drawn = guided(
            prompt="a red circle on a blue background", negative_prompt=NO_TEXT, true_cfg_scale=4.0, width=512,
            height=512, num_inference_steps=steps, control_image=guide.convert("RGB"),
            controlnet_conditioning_scale=scale, generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]  # fmt: skip
        colours = np.asarray(drawn.convert("RGB"), np.int16)
        red = (colours[..., 0] > 120) & (colours[..., 2] < 120)
        wanted = np.asarray(guide) == WHITE
        found.append((red & wanted).sum() / (red | wanted).sum())
    return float(np.mean(found))
