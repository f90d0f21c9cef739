"""Paint prompts with a model folder through the stock pipeline, as the server does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from imageserver.engine.pipelines import single_frame_vae

CELL = 64  # pixels per token and side
MAGIC = ", Ultra HD, 4K, cinematic composition."


@dataclass(frozen=True)
class Look:
    """The settings of an image, besides its prompt and seed."""

    width: int = 512
    height: int = 512
    negative: str = " "
    guidance: float = 4.0
    steps: int = 20


class PipelineRunner:
    """A loaded model; `paint` makes images in batches of prompts with equally many tokens."""

    def __init__(self, folder: Path, threads: int = 2, batch: int = 8) -> None:
        torch.set_num_threads(threads)
        single_frame_vae.install()
        self.pipeline = QwenImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.batch, self.seconds = batch, 0.0

    def paint(self, prompts: Sequence[str], seeds: Sequence[int], look: Look | None = None) -> list[Image.Image]:
        """Paint one image per prompt and seed, at exactly the wanted size."""
        look = look or Look()
        lengths = [len(self.pipeline.tokenizer(prompt).input_ids) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: lengths[index])
        images: list[Image.Image | None] = [None] * len(prompts)
        started = time.monotonic()
        while order:
            chosen = [index for index in order if lengths[index] == lengths[order[0]]][: self.batch]
            order = order[len(chosen) :]
            for index, image in zip(
                chosen, self._call([prompts[i] for i in chosen], [seeds[i] for i in chosen], look), strict=True
            ):
                images[index] = image
        self.seconds += time.monotonic() - started
        return [image for image in images if image is not None]

    @torch.no_grad()
    def _call(self, prompts: list[str], seeds: list[int], look: Look) -> list[Image.Image]:
        width, height = -(-look.width // CELL) * CELL, -(-look.height // CELL) * CELL
        made = self.pipeline(
            prompt=prompts,
            negative_prompt=[look.negative] * len(prompts),
            width=width,
            height=height,
            true_cfg_scale=look.guidance,
            num_inference_steps=look.steps,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
        left, top = (width - look.width) // 2, (height - look.height) // 2
        return [image.crop((left, top, left + look.width, top + look.height)) for image in made]


def pixels(image: Image.Image, side: int = 128) -> np.ndarray:
    """Return an image as (side, side, 3) floats."""
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
