"""Previews show what the image becomes, cost next to nothing and change no pixel."""

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from imageserver.engine.batching.running_job import preview_steps
from imageserver.engine.families import QwenImage
from imageserver.engine.runner.pipeline_runner import PipelineRunner, PreviewFn
from imageserver.protocol.messages import Preview
from tests.support.factories import generation
from tests.support.paths import DEMO_MODEL
from tests.support.tiny_engine import TinyEngine


@pytest.mark.parametrize(
    ("steps", "previews", "expected"),
    [(20, 0, []), (20, 3, [5, 10, 15]), (20, 1, [10]), (4, 3, [1, 2, 3]), (2, 3, [1]), (1, 3, []), (50, 10, 10)],
)
def test_previews_are_spread_over_the_steps_and_never_on_the_last(steps, previews, expected) -> None:
    chosen = sorted(preview_steps(generation(steps=steps, previews=previews)))
    assert chosen == expected if isinstance(expected, list) else len(chosen) == expected
    assert steps not in chosen


def test_each_image_of_a_job_sends_its_own_previews(engine: TinyEngine) -> None:
    engine.generate(generation(steps=8, count=2, previews=3))
    seen = sorted((message.index, message.step, message.total) for message, _ in engine.of(Preview))
    assert seen == [(0, 2, 8), (0, 4, 8), (0, 6, 8), (1, 2, 8), (1, 4, 8), (1, 6, 8)]
    assert all(len(raw) == message.width * message.height * 3 for message, raw in engine.of(Preview))


def test_looking_changes_no_pixel(engine: TinyEngine) -> None:
    [plain] = engine.generate(generation())
    assert engine.of(Preview) == []
    [watched] = engine.generate(generation(previews=3))
    assert (plain == watched).all()


@pytest.fixture(scope="module")
def demo_runner() -> PipelineRunner:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(str(DEMO_MODEL), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return PipelineRunner(pipeline, QwenImage())


def test_the_demo_models_previews_come_close_to_its_image_and_closer_every_time(demo_runner: PipelineRunner) -> None:
    looks = []
    wanted = generation("a red circle on a blue background", width=256, height=256, steps=12, true_cfg_scale=4.0)
    image = demo_runner.run(wanted, 0, lambda look: looks.append(look()))
    pixels = np.frombuffer(demo_runner.postprocess(image, wanted), np.uint8).reshape(256, 256, 3)
    frames = [np.frombuffer(frame.pixels, np.uint8).reshape(frame.height, frame.width, 3) for frame in looks]
    small = np.asarray(Image.fromarray(pixels).resize((looks[0].width, looks[0].height), Image.Resampling.BOX))
    errors = [float(np.abs(frame.astype(int) - small).mean()) for frame in frames]
    assert errors[-1] < 12
    assert errors[0] > errors[5] > errors[-1]


def test_a_preview_costs_a_small_part_of_a_step(demo_runner: PipelineRunner) -> None:
    _ = demo_runner.preview_map
    looking = FlopCounterMode(display=False)

    def look_and_count(look: PreviewFn) -> None:
        with looking:
            look()

    with FlopCounterMode(display=False) as steps:
        demo_runner.run(generation(width=256, height=256, steps=2), 0, look_and_count)
    assert 0 < looking.get_total_flops() < 0.01 * steps.get_total_flops()
