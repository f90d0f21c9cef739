"""The engine tells how many tokens it read and generated."""

import pytest

from imageserver.engine.families import QwenImage
from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.protocol.messages import Finished
from tests.support.factories import generation


@pytest.fixture
def painter(pipeline):
    return PipelineRunner(pipeline, QwenImage())


def test_the_tokens_of_a_prompt_are_counted_without_its_template(painter, pipeline):
    reading = painter.reading(generation("a red circle"))
    assert reading.prompt_tokens == len(pipeline.tokenizer("a red circle").input_ids) > 0
    assert reading.warnings == ()


def test_what_was_cut_was_not_read_and_is_told(painter):
    reading = painter.reading(generation("circle " * 3000))
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 1024" in reading.warnings[0]


def test_the_tokens_of_all_images_are_counted_at_the_generated_size(painter, pipeline):
    multiple = pipeline.vae_scale_factor * 2
    exact = generation(width=multiple * 3, height=multiple * 2, count=2)
    assert painter.reading(exact).image_tokens == 12
    larger = generation(width=multiple * 3 + 1, height=multiple * 2)
    assert painter.reading(larger).image_tokens == 8


def test_they_travel_with_the_images(make_bench, painter):
    bench = make_bench()
    bench.add(1, generation(count=2))
    bench.run()
    [(finished, _)] = bench.of(Finished, 1)
    expected = painter.reading(generation(count=2))
    assert finished.outcome.prompt_tokens == expected.prompt_tokens
    assert finished.outcome.image_tokens == expected.image_tokens
