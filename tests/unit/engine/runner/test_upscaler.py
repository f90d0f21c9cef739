"""A second stage enlarges the image and generates over it, tile by tile, within the same job."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.runner.upscaler import SEED_STRIDE, upscaled
from imageserver.generation import Source, Upscale
from imageserver.protocol.messages import Finished, Preview, Progress
from tests.support.factories import generation
from tests.support.images import noise
from tests.support.tiny_engine import TinyEngine, difference

ONE_TILE = Upscale(width=96, height=96, strength=0.5, steps=4, tile=(96, 96))
GIVEN = np.asarray(noise(3))


def lanczos(image: np.ndarray, width: int, height: int) -> np.ndarray:
    resized = Image.fromarray(image.astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized).astype(int)


def test_a_strength_of_0_only_enlarges(engine: TinyEngine) -> None:
    [alone] = engine.generate(generation())
    [larger] = engine.generate(generation(upscale=replace(ONE_TILE, strength=0.0)))
    assert difference(larger, lanczos(alone, 96, 96)) == 0


def test_the_second_stage_is_the_pipeline_s_own_call_on_the_enlarged_image(engine: TinyEngine) -> None:
    wanted = generation(deterministic=True)
    [first] = engine.generate(wanted)
    [image] = engine.generate(replace(wanted, upscale=ONE_TILE))
    tile = replace(wanted, width=96, height=96, source=Source(strength=0.5, digest=""), seed=1 + SEED_STRIDE)
    [again] = engine.generate((tile, lanczos(first, 96, 96).astype(np.uint8).tobytes()))
    assert difference(image, again) == 0
    assert difference(image, lanczos(first, 96, 96)) > 0


def test_both_stages_are_one_job_with_one_progress_and_previews_of_the_first(engine: TinyEngine) -> None:
    wanted = generation(upscale=replace(ONE_TILE, tile=(64, 64)), previews=1)
    engine.generate(wanted)
    steps = [message.step for message, _ in engine.of(Progress)]
    total = 4 + 4 * 2
    assert steps == list(range(1, total + 1))
    assert {message.total for message, _ in engine.of(Progress)} == {wanted.generated_steps} == {total}
    assert [(message.step, message.total) for message, _ in engine.of(Preview)] == [(2, total)]
    [(finished, pixels)] = engine.of(Finished)
    assert (finished.outcome.width, finished.outcome.height, len(pixels)) == (96, 96, 96 * 96 * 3)


def test_an_image_that_was_sent_has_no_first_stage(engine: TinyEngine) -> None:
    wanted = generation(source=Source(strength=0.5, digest="x"), upscale=replace(ONE_TILE, only=True, strength=0.0))
    [image] = engine.generate((wanted, GIVEN.tobytes()))
    assert difference(image, lanczos(GIVEN, 96, 96)) == 0
    assert engine.batches == []


def test_a_second_stage_shares_forwards_with_other_jobs(engine: TinyEngine) -> None:
    engine.generate(generation(upscale=replace(ONE_TILE, width=64, height=64, tile=(64, 64))), generation(steps=6))
    assert 4 in engine.batches


@pytest.mark.parametrize(
    ("size", "tile", "grid"),
    [
        ((64, 64), (64, 64), (1, 1)), ((96, 96), (64, 64), (2, 2)), ((128, 64), (64, 64), (3, 1)),
        ((65, 64), (64, 64), (2, 1)),
    ],
)  # fmt: skip
def test_tiles_cover_the_image_and_overlap(size: tuple[int, int], tile: tuple[int, int], grid: tuple[int, int]) -> None:
    upscale = Upscale(width=size[0], height=size[1], strength=0.5, steps=4, tile=tile)
    assert upscale.grid == grid

    def generate(number: int, pixels: bytes) -> torch.Tensor:
        return torch.full((tile[1], tile[0], 3), 255, dtype=torch.uint8)

    image = upscaled(torch.zeros((size[1], size[0], 3), dtype=torch.uint8), upscale, generate)
    assert int(image.min()) == 255, "a part of the image was not generated, or fades into what was there before"


def test_tiles_show_no_edge_where_they_differ() -> None:
    upscale = Upscale(width=112, height=64, strength=0.5, steps=4, tile=(64, 64))
    shades = iter((100, 180))

    def generate(number: int, pixels: bytes) -> torch.Tensor:
        return torch.full((64, 64, 3), next(shades), dtype=torch.uint8)

    row = upscaled(torch.zeros((64, 112, 3), dtype=torch.uint8), upscale, generate)[0, :, 0].to(torch.int32)
    assert (int(row[0]), int(row[-1])) == (100, 180)
    # The 80 between them are spread over the 16 that they share.
    assert int((row[1:] - row[:-1]).abs().max()) <= 6
