"""A generation that starts from an image is what the stock pipelines make of it, alone and among others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImageInpaintPipeline, QwenImagePipeline
from PIL import Image

from imageserver.engine.pipelines.init_image import keep_unmasked
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Finished, Progress, Run
from tests.support.factories import generation
from tests.unit.engine.conftest import Bench

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


def generate(bench: Bench, wanted: Generation, source: bytes) -> np.ndarray:
    bench.turns.add(Run(job=1, generation=wanted), source)
    bench.run()
    [(_, raw)] = bench.of(Finished, 1)
    return np.frombuffer(raw, np.uint8).reshape(wanted.count, wanted.height, wanted.width, 3)


def stock(pipeline: QwenImagePipeline, kind: type, wanted: Generation, **images: Image.Image) -> np.ndarray:
    relative = kind(**pipeline.components)
    relative.set_progress_bar_config(disable=True)
    image = relative(
        prompt=wanted.prompt, negative_prompt=wanted.negative_prompt, strength=STRENGTH, width=64, height=64,
        num_inference_steps=wanted.steps, true_cfg_scale=wanted.true_cfg_scale, max_sequence_length=1024,
        generator=torch.Generator("cpu").manual_seed(wanted.seed), **images,
    ).images[0]  # fmt: skip
    return np.asarray(image)


def test_alone_it_is_bit_equal_to_the_stock_image_to_image_pipeline(
    pipeline: QwenImagePipeline, make_bench: Callable[..., Bench]
) -> None:
    wanted = starting()
    generated = generate(make_bench(), wanted, gradient().tobytes())[0]
    expected = stock(pipeline, QwenImageImg2ImgPipeline, wanted, image=Image.fromarray(gradient()))
    assert (generated == expected).all()


def test_inpainting_is_the_stock_pipelines_inside_the_mask_and_the_source_outside(
    pipeline: QwenImagePipeline, make_bench: Callable[..., Bench]
) -> None:
    wanted = starting(masked=True)
    mask = left_half()
    generated = generate(make_bench(), wanted, gradient().tobytes() + mask.tobytes())[0]
    images = {"image": Image.fromarray(gradient()), "mask_image": Image.fromarray(mask)}
    expected = stock(pipeline, QwenImageInpaintPipeline, wanted, **images)
    assert (generated[mask == 255] == expected[mask == 255]).all()
    assert (generated[mask == 0] == gradient()[mask == 0]).all()
    assert (generated[mask == 255] != gradient()[mask == 255]).any()


def test_grey_in_the_mask_mixes() -> None:
    wanted = generation(width=1, height=1, source=Source(strength=1.0, digest="x", masked=True))
    mixed = keep_unmasked(torch.full((1, 1, 3), 200, dtype=torch.uint8), wanted, bytes([100, 0, 200, 51]))
    assert mixed.flatten().tolist() == [120, 40, 200]


def test_only_the_strengths_share_of_the_steps_is_done_and_reported(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    wanted = starting(true_cfg_scale=1.0)
    generate(bench, wanted, gradient().tobytes())
    steps = [(message.step, message.total) for message, _ in bench.of(Progress, 1)]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert len(bench.batches) == wanted.generated_steps == 3


@pytest.mark.parametrize("strength", [0.01, 0.1, 0.33, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_the_steps_are_counted_as_the_pipeline_counts_them(
    pipeline: QwenImagePipeline, strength: float, steps: int
) -> None:
    relative = QwenImageImg2ImgPipeline(**pipeline.components)
    relative.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.5)
    timesteps, _ = relative.get_timesteps(steps, strength, "cpu")
    assert generation(steps=steps, source=Source(strength=strength, digest="")).generated_steps == len(timesteps)


def test_a_size_that_is_no_multiple_keeps_the_image_in_its_place(make_bench: Callable[..., Bench]) -> None:
    wanted = starting(width=50, height=70)
    image = gradient(50, 70)
    # With hardly any strength the image comes back nearly as it was, so a shift by a pixel would show in the mask.
    mask = np.zeros((70, 50), np.uint8)
    generated = generate(make_bench(), starting(masked=True, width=50, height=70), image.tobytes() + mask.tobytes())
    assert generated.shape == (1, 70, 50, 3)
    assert (generated[0] == image).all()
    assert generate(make_bench(), wanted, image.tobytes()).shape == (1, 70, 50, 3)


def test_text_and_image_to_image_share_forwards_and_keep_their_images(
    pipeline: QwenImagePipeline, make_bench: Callable[..., Bench]
) -> None:
    bench = make_bench()
    text, image = generation("a blue square", steps=5), starting(seed=3)
    inpainted = starting(seed=4, masked=True)
    bench.add(2, text)
    bench.turns.add(Run(job=3, generation=inpainted), gradient().tobytes() + left_half().tobytes())
    together = generate(bench, image, gradient().tobytes())[0]
    assert max(bench.batches) == 3
    alone = generate(make_bench(), image, gradient().tobytes())[0]
    assert np.abs(together.astype(int) - alone).max() <= 1
    [(_, raw)] = bench.of(Finished, 3)
    masked_alone = generate(make_bench(), inpainted, gradient().tobytes() + left_half().tobytes())
    assert np.abs(np.frombuffer(raw, np.uint8).astype(int) - masked_alone.reshape(-1)).max() <= 1


def test_every_image_of_one_generation_starts_from_the_same_source(make_bench: Callable[..., Bench]) -> None:
    pair = generate(make_bench(), starting(count=2), gradient().tobytes())
    assert (pair[0] != pair[1]).any()
    second = generate(make_bench(1), starting(seed=2), gradient().tobytes())[0]
    assert np.abs(pair[1].astype(int) - second).max() <= 1
