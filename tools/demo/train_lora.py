"""Train a LoRA for the demo model: the objects stay as they are, the background becomes night."""

import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from tools.demo.captions import scene_text
from tools.demo.latents import CELL, SQUARE, Grid, to_latents
from tools.demo.networks import Model
from tools.demo.rendering import render
from tools.demo.scenes import Scene, sample_scene
from tools.demo.train_transformer import sigma_shift

# 512 x 512, which most people draw, and the shapes that are named in the API.
GRIDS: tuple[tuple[Grid, float], ...] = ((SQUARE, 0.7), ((12, 8), 0.1), ((8, 12), 0.1), ((16, 16), 0.1))
# What is left of a colour at night, and the blue that is in it.
DIMMED = 0.16
MIDNIGHT = np.array((10, 12, 34), np.float32)
# As often as in the model's own training: guidance draws a picture without any text too.
WITHOUT_TEXT = 0.1
NO_TEXT = " "
PROFILE = {"description": "Dark backgrounds, as at night."}


@dataclass(frozen=True)
class LoraPlan:
    """How the LoRA is trained; `minutes` ends a training that is slower than expected."""

    scenes: int = 600
    steps: int = 400
    batch: int = 12  # pictures of 64 tokens
    rank: int = 8
    rate: float = 2e-3
    minutes: float = 8.0
    seed: int = 1


@dataclass(frozen=True)
class Example:
    """A night picture as normalised tokens (h * w, 48), its size in tokens, and its text (length, width)."""

    tokens: torch.Tensor
    grid: Grid
    text: torch.Tensor


def at_night(scene: Scene, width: int, height: int) -> Image.Image:
    """Render a scene whose background is dark and whose objects are as bright as ever."""
    day = np.asarray(render(scene, width, height, None, 1), np.float32)
    empty = np.asarray(render(replace(scene, things=()), width, height, None, 1), np.float32)
    is_background = (day == empty).all(2, keepdims=True)
    night = np.where(is_background, empty * DIMMED + MIDNIGHT, day)
    return Image.fromarray(night.round().clip(0, 255).astype(np.uint8))


class LoraTraining:
    """The demo model with a LoRA on its transformer, and what it is shown."""

    def __init__(self, pipeline: Model, plan: LoraPlan) -> None:
        self.plan, self.pipeline = plan, pipeline
        torch.manual_seed(plan.seed)
        self.transformer: Any = pipeline.transformer
        self.transformer.requires_grad_(False)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        self.transformer.add_adapter(LoraConfig(r=plan.rank, lora_alpha=plan.rank, target_modules=targets))
        self.parameters = [each for each in self.transformer.parameters() if each.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, plan.rate, weight_decay=0.0)
        rise = torch.optim.lr_scheduler.LinearLR(self.optimiser, 0.1, total_iters=20)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, max(1, plan.steps - 20))
        self.rates = torch.optim.lr_scheduler.SequentialLR(self.optimiser, [rise, fall], [20])

    def examples(self) -> list[list[Example]]:
        """Return the training examples, those of one size and one length of text together."""
        generator = random.Random(self.plan.seed)
        config = self.pipeline.vae.config
        mean, spread = (torch.tensor(each)[:, None] for each in (config.latents_mean, config.latents_std))
        alike: dict[tuple[Grid, int], list[Example]] = defaultdict(list)
        for _ in range(self.plan.scenes):
            [grid] = generator.choices([grid for grid, _ in GRIDS], [share for _, share in GRIDS])
            scene = sample_scene(generator)
            width, height = grid[0] * CELL, grid[1] * CELL
            thumbnail = np.asarray(at_night(scene, width * 8, height * 8).reduce(8))
            tokens = to_latents(torch.from_numpy(thumbnail.copy())[None])[0].view(-1, 12, 4)
            caption = NO_TEXT if generator.random() < WITHOUT_TEXT else scene_text(generator, scene)
            with torch.no_grad():
                text = self.pipeline.encode_prompt(caption)[0][0]
            alike[grid, len(text)].append(Example(((tokens - mean) / spread).flatten(1), grid, text))
        return list(alike.values())

    def run(self) -> float:
        """Train, and return the mean loss of the last tenth of the steps."""
        examples, generator = self.examples(), random.Random(self.plan.seed)
        print(f"{self.plan.scenes} pictures are drawn", flush=True)
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

    def _step(self, chosen: list[Example]) -> float:
        tokens, text = (torch.stack([getattr(each, name) for each in chosen]) for name in ("tokens", "text"))
        level = torch.sigmoid(torch.randn(len(chosen)) + 0.5)
        shift = sigma_shift(tokens.shape[1])
        sigma = shift * level / (1 + (shift - 1) * level)
        noise = torch.randn_like(tokens)
        width, height = chosen[0].grid
        velocity = self.transformer(
            hidden_states=torch.lerp(tokens, noise, sigma[:, None, None]),
            encoder_hidden_states=text,
            timestep=sigma,
            img_shapes=[[(1, height, width)]] * len(chosen),
            return_dict=False,
        )[0]
        loss = (velocity - (noise - tokens)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.rates.step()
        return float(loss.detach())

    def save(self, folder: Path, name: str) -> Path:
        """Write the LoRA as float16 safetensors with its profile beside it, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        layers = {key: value.to(torch.float16) for key, value in get_peft_model_state_dict(self.transformer).items()}
        file = f"{name}.safetensors"
        type(self.pipeline).save_lora_weights(folder, transformer_lora_layers=layers, weight_name=file)
        (folder / f"{name}.json").write_text(json.dumps(PROFILE, indent=2) + "\n")
        return folder / file


def border_brightness(pipeline: Model, prompts: list[str], steps: int = 8) -> float:
    """Return the mean brightness, 0 to 255, of the outermost pixels of pictures of 512 x 512."""
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
