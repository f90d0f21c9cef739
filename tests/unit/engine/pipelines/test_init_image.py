"""A generation that starts from an image is what the stock pipelines make of it, alone and among others."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline
from PIL import Image

from imageserver.engine.pipelines.init_image import keep_unmasked
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Progress
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_alike, difference

STRENGTH = 0.6


def gradient(width: int = 64, height: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, np.full_like(rows, 90)], 2).astype(np.uint8)


def left_half(width: int = 64, height: int = 64) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


def starting(masked: bool = False, **changes: Any) -> Generation:
    return generation(steps=5, source=Source(strength=STRENGTH, digest="x", masked=masked), **changes)


def test_alone_it_is_bit_equal_to_the_stock_image_to_image_pipeline(engine: TinyEngine) -> None:
    [image] = engine.generate((starting(), gradient().tobytes()))
    assert (image == engine.plain(starting(), "image", image=Image.fromarray(gradient()), strength=STRENGTH)).all()


def test_inpainting_is_the_stock_pipelines_inside_the_mask_and_the_source_outside(engine: TinyEngine) -> None:
    wanted = starting(masked=True)
    mask = left_half()
    [image] = engine.generate((wanted, gradient().tobytes() + mask.tobytes()))
    images = {"image": Image.fromarray(gradient()), "mask_image": Image.fromarray(mask)}
    expected = engine.plain(wanted, "inpaint", **images, strength=STRENGTH)
    assert (image[mask == 255] == expected[mask == 255]).all()
    assert (image[mask == 0] == gradient()[mask == 0]).all()
    assert (image[mask == 255] != gradient()[mask == 255]).any()


def test_grey_in_the_mask_mixes() -> None:
    wanted = generation(width=1, height=1, source=Source(strength=1.0, digest="x", masked=True))
    mixed = keep_unmasked(torch.full((1, 1, 3), 200, dtype=torch.uint8), wanted, bytes([100, 0, 200, 51]))
    assert mixed.flatten().tolist() == [120, 40, 200]


def test_only_the_strengths_share_of_the_steps_is_done_and_reported(engine: TinyEngine) -> None:
    wanted = starting(true_cfg_scale=1.0)
    engine.generate((wanted, gradient().tobytes()))
    steps = [(message.step, message.total) for message, _ in engine.of(Progress)]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert len(engine.batches) == wanted.generated_steps == 3


@pytest.mark.parametrize("strength", [0.01, 0.1, 0.33, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_the_steps_are_counted_as_the_pipeline_counts_them(
    pipeline: QwenImagePipeline, strength: float, steps: int
) -> None:
    relative = QwenImageImg2ImgPipeline(**pipeline.components)
    relative.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.5)
    timesteps, _ = relative.get_timesteps(steps, strength, "cpu")
    assert generation(steps=steps, source=Source(strength=strength, digest="")).generated_steps == len(timesteps)


def test_a_size_that_is_not_a_multiple_keeps_the_image_in_its_place(engine: TinyEngine) -> None:
    image = gradient(50, 70)
    # With hardly any strength the image comes back nearly as it was, so a shift by a pixel would show in the mask.
    mask = np.zeros((70, 50), np.uint8)
    masked = starting(masked=True, width=50, height=70), image.tobytes() + mask.tobytes()
    inpainted, generated = engine.generate(masked, (starting(width=50, height=70), image.tobytes()))
    assert (inpainted == image).all()
    assert generated.shape == (70, 50, 3)


def test_text_and_image_to_image_share_forwards_and_keep_their_images(engine: TinyEngine) -> None:
    wanted = [
        generation("a blue square", steps=5),
        (starting(seed=3), gradient().tobytes()),
        (starting(seed=4, masked=True), gradient().tobytes() + left_half().tobytes()),
    ]
    together = engine.generate(*wanted)
    # Both calls of a guided step are in one forward; those that start from an image skip the first two steps.
    assert engine.batches == [6] * 3 + [2] * 2
    assert_alike(engine, wanted, together)


def test_every_image_of_one_generation_starts_from_the_same_source(engine: TinyEngine) -> None:
    [pair] = engine.generate((starting(count=2), gradient().tobytes()))
    assert (pair[0] != pair[1]).any()
    [second] = engine.generate((starting(seed=2), gradient().tobytes()))
    assert difference(pair[1], second) <= 1
