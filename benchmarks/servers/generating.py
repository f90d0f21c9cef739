"""The common steps of the baselines: read a request, call the pipeline, encode the image."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import torch
from PIL import Image

import overlay
from benchmarks.conditions import conditions_from_environment
from benchmarks.traced_engine import prepare
from imageserver.imaging.encoding import encode

MAX_PROMPT_TOKENS = 1024


@dataclass(frozen=True)
class Wanted:
    """The parameters of one requested image."""

    prompt: str
    seed: int
    steps: int
    width: int
    height: int
    true_cfg_scale: float

    @property
    def batch_key(self) -> tuple[int, int, int, float]:
        """The parameters that all images of one `pipe()` call share."""
        return (self.steps, self.width, self.height, self.true_cfg_scale)


def read(body: dict[str, Any]) -> Wanted:
    """Return the parameters in a JSON body."""
    return Wanted(
        prompt=body["prompt"],
        seed=body["seed"],
        steps=body["num_inference_steps"],
        width=body["width"],
        height=body["height"],
        true_cfg_scale=body["true_cfg_scale"],
    )


def load_pipeline() -> Any:
    """Load the pipeline onto the device that the environment names, with the faster decoder that ours has too."""
    import diffusers

    from imageserver.engine.pipelines.decoding import single_frame_vae

    conditions = conditions_from_environment()
    single_frame_vae.install()
    prepare(conditions)
    on_cuda = conditions.device == "cuda"
    dtype = torch.bfloat16 if on_cuda else torch.float32
    pipeline = diffusers.DiffusionPipeline.from_pretrained(str(conditions.model), dtype=dtype, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if on_cuda else "cpu")


def generate(pipeline: Any, wanted: Sequence[Wanted]) -> list[Image.Image]:
    """Return the images of one `pipe()` call; all must have the same batch key."""
    first, multiple = wanted[0], 2 * pipeline.vae_scale_factor
    images = pipeline(
        prompt=[one.prompt for one in wanted],
        # Without guidance the pipeline would only warn about it.
        negative_prompt=[" "] * len(wanted) if first.true_cfg_scale > 1 else None,
        width=-(-first.width // multiple) * multiple,
        height=-(-first.height // multiple) * multiple,
        num_inference_steps=first.steps,
        true_cfg_scale=first.true_cfg_scale,
        generator=[torch.Generator("cpu").manual_seed(one.seed) for one in wanted],
        max_sequence_length=MAX_PROMPT_TOKENS,
    ).images
    return [image.crop((0, 0, first.width, first.height)) for image in images]


def copy_of(pipeline: Any) -> Any:
    """Return a pipeline that shares the weights and has a scheduler of its own."""
    own = copy.copy(pipeline)
    own.scheduler = copy.deepcopy(pipeline.scheduler)
    return own


def finish(image: Image.Image, began: float) -> bytes:
    """Return the PNG of an image with its info panel; `began` is on the monotonic clock."""
    on_cuda = conditions_from_environment().device == "cuda"
    lines = overlay.panel_lines(
        model="baseline",
        aspect_ratio="custom",
        width=image.width,
        height=image.height,
        inference_time=time.monotonic() - began,
        gpu=torch.cuda.get_device_name() if on_cuda else "CPU",
        cuda=(torch.version.cuda or "N/A") if on_cuda else "N/A",
        when=datetime.now().astimezone(),
    )
    return encode(np.asarray(overlay.draw_overlay(image, lines)), output_format="png")
