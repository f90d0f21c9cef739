"""Generate images with a model folder through the stock pipeline, as the server does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from imageserver.engine.pipelines.decoding import single_frame_vae

CELL = 64  # pixels per token and side
MAGIC = ", Ultra HD, 4K, cinematic composition."


@dataclass(frozen=True)
class ImageOptions:
    """The settings of an image, besides its prompt and seed."""

    width: int = 512
    height: int = 512
    negative: str = " "
    guidance: float = 4.0
    steps: int = 20


class StockPipeline:
    """A loaded model; `generate` makes images in batches of prompts with equally many tokens."""

    def __init__(self, folder: Path, threads: int = 2, batch: int = 8) -> None:
        torch.set_num_threads(threads)
        single_frame_vae.install()
        self.pipeline = QwenImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.batch, self.seconds = batch, 0.0

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], options: ImageOptions | None = None
    ) -> list[Image.Image]:
        """Generate one image per prompt and seed, at exactly the requested size."""
        options = options or ImageOptions()
        lengths = [len(self.pipeline.tokenizer(prompt).input_ids) for prompt in prompts]
        remaining = sorted(range(len(prompts)), key=lambda index: lengths[index])
        images: list[Image.Image | None] = [None] * len(prompts)
        started = time.monotonic()
        while remaining:
            chosen = [index for index in remaining if lengths[index] == lengths[remaining[0]]][: self.batch]
            remaining = remaining[len(chosen) :]
            for index, image in zip(
                chosen, self._call([prompts[i] for i in chosen], [seeds[i] for i in chosen], options), strict=True
            ):
                images[index] = image
        self.seconds += time.monotonic() - started
        return [image for image in images if image is not None]

    @torch.no_grad()
    def _call(self, prompts: list[str], seeds: list[int], options: ImageOptions) -> list[Image.Image]:
        width, height = -(-options.width // CELL) * CELL, -(-options.height // CELL) * CELL
        made = self.pipeline(
            prompt=prompts,
            negative_prompt=[options.negative] * len(prompts),
            width=width,
            height=height,
            true_cfg_scale=options.guidance,
            num_inference_steps=options.steps,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
        left, top = (width - options.width) // 2, (height - options.height) // 2
        return [image.crop((left, top, left + options.width, top + options.height)) for image in made]


def pixels(image: Image.Image, side: int = 128) -> np.ndarray:
    """Return an image as (side, side, 3) floats."""
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
