"""Train a small part beside the frozen demo model: scenes, their texts, and the flow-matching loss on both."""

import argparse
import dataclasses
import random
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from tools.demo.captions import scene_text
from tools.demo.latents import CELL, SQUARE, Grid, to_latents
from tools.demo.networks import Model
from tools.demo.rendering import render
from tools.demo.scenes import Scene, sample_scene
from tools.demo.train_transformer import sigma_shift

# 512 x 512, which most people draw, and the shapes that are named in the API.
GRIDS: tuple[tuple[Grid, float], ...] = ((SQUARE, 0.7), ((12, 8), 0.1), ((8, 12), 0.1), ((16, 16), 0.1))
# As often as in the model's own training: guidance draws an image without any text too.
WITHOUT_TEXT = 0.1
NO_TEXT = " "
DEMO_MODEL = Path(__file__).resolve().parents[2] / "imageserver" / "demo_model"


@dataclass(frozen=True)
class TrainingPlan:
    """How much is trained; `minutes` ends a training that is slower than expected."""

    scenes: int
    steps: int
    rate: float
    minutes: float
    batch: int = 12  # images of 64 tokens
    seed: int = 1


P = TypeVar("P", bound=TrainingPlan)


def read_command_line(
    description: str | None, defaults: P, output: Path, arguments: list[str] | None
) -> tuple[Model, P, Path]:
    """Return the model, the plan and the folder to write to that the options of a training name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="model folder")
    parser.add_argument("--output", type=Path, default=output, help="where it is written")
    parser.add_argument("--steps", type=int, default=defaults.steps, help=f"training steps (default: {defaults.steps})")
    parser.add_argument("--scenes", type=int, default=defaults.scenes, help=f"images (default: {defaults.scenes})")
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="stop after so many at the latest")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    given = parser.parse_args(arguments)
    pipeline = QwenImagePipeline.from_pretrained(given.model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    plan = dataclasses.replace(defaults, scenes=given.scenes, steps=given.steps, minutes=given.minutes, seed=given.seed)
    return pipeline, plan, given.output


@dataclass(frozen=True)
class Example:
    """An image and what guides it as normalised tokens (h * w, 48), their size in tokens, and its text."""

    tokens: torch.Tensor
    grid: Grid
    text: torch.Tensor  # (length, width)
    control: torch.Tensor | None


class FineTuning:
    """The demo model, the parameters that are trained beside it, and what they are shown."""

    def __init__(self, pipeline: Model, plan: TrainingPlan, parameters: list[Any]) -> None:
        self.plan, self.pipeline = plan, pipeline
        self.parameters = parameters
        self.optimiser = torch.optim.AdamW(parameters, plan.rate, weight_decay=0.0)
        rise = torch.optim.lr_scheduler.LinearLR(self.optimiser, 0.1, total_iters=20)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, max(1, plan.steps - 20))
        self.rates = torch.optim.lr_scheduler.SequentialLR(self.optimiser, [rise, fall], [20])

    def sample(self, generator: random.Random) -> Scene:
        """Return a scene to learn from."""
        return sample_scene(generator)

    def image(self, scene: Scene, width: int, height: int) -> Image.Image:
        """Return the image of a scene."""
        return render(scene, width, height, None, 1)

    def control(self, scene: Scene, width: int, height: int) -> Image.Image | None:
        """Return the image that guides the drawing, where there is one."""
        return None

    def beside(self, chosen: list[Example], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the transformer is given beside its `arguments`."""
        return {}

    def examples(self) -> list[list[Example]]:
        """Return the training examples, those of one size and one length of text together."""
        generator = random.Random(self.plan.seed)
        alike: dict[tuple[Grid, int], list[Example]] = defaultdict(list)
        for _ in range(self.plan.scenes):
            [grid] = generator.choices([grid for grid, _ in GRIDS], [share for _, share in GRIDS])
            scene = self.sample(generator)
            width, height = grid[0] * CELL * 8, grid[1] * CELL * 8
            tokens = self._tokens(self.image(scene, width, height))
            guide = self.control(scene, width, height)
            caption = NO_TEXT if generator.random() < WITHOUT_TEXT else scene_text(generator, scene)
            with torch.no_grad():
                text = self.pipeline.encode_prompt(caption)[0][0]
            control = None if guide is None else self._tokens(guide)
            alike[grid, len(text)].append(Example(tokens, grid, text, control))
        return list(alike.values())

    def run(self) -> float:
        """Train, and return the mean loss of the last tenth of the steps."""
        examples, generator = self.examples(), random.Random(self.plan.seed)
        print(f"{self.plan.scenes} images are drawn", flush=True)
        sizes, began, losses = [len(group) for group in examples], time.monotonic(), list[float]()
        for step in range(1, self.plan.steps + 1):
            [group] = generator.choices(examples, sizes)
            count = max(2, self.plan.batch * 64 // len(group[0].tokens))
            losses.append(self._step(generator.choices(group, k=count)))
            if step % 100 == 0 or step == self.plan.steps:
                recent = sum(losses[-100:]) / len(losses[-100:])
                print(f"step {step}: loss {recent:.4f}, {time.monotonic() - began:.0f} s", flush=True)
            if time.monotonic() - began > 60 * self.plan.minutes:
                print(f"{self.plan.minutes:g} minutes are over after {step} steps", flush=True)
                break
        last = losses[-max(1, len(losses) // 10) :]
        return sum(last) / len(last)

    def _tokens(self, image: Image.Image) -> torch.Tensor:
        """Return an image as the pipeline gives it to the transformer: the means of 16 pixels, normalised."""
        config = self.pipeline.vae.config
        mean, spread = (torch.tensor(each)[:, None] for each in (config.latents_mean, config.latents_std))
        thumbnail = np.asarray(image.reduce(8))
        tokens = to_latents(torch.from_numpy(thumbnail.copy())[None])[0].view(-1, 12, 4)
        return ((tokens - mean) / spread).flatten(1)

    def _step(self, chosen: list[Example]) -> float:
        tokens, text = (torch.stack([getattr(each, name) for each in chosen]) for name in ("tokens", "text"))
        level = torch.sigmoid(torch.randn(len(chosen)) + 0.5)
        shift = sigma_shift(tokens.shape[1])
        sigma = shift * level / (1 + (shift - 1) * level)
        noise = torch.randn_like(tokens)
        width, height = chosen[0].grid
        arguments = {
            "hidden_states": torch.lerp(tokens, noise, sigma[:, None, None]),
            "encoder_hidden_states": text,
            "timestep": sigma,
            "img_shapes": [[(1, height, width)]] * len(chosen),
            "return_dict": False,
        }
        velocity = self.pipeline.transformer(**arguments, **self.beside(chosen, arguments))[0]
        loss = (velocity - (noise - tokens)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.rates.step()
        return float(loss.detach())
