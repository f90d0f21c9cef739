"""The engine tells how many tokens it read and generated."""

import pytest

from imageserver.engine.families import QwenImage
from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.protocol.messages import Finished
from tests.support.factories import generation


@pytest.fixture
def runner(pipeline):
    return PipelineRunner(pipeline, QwenImage())


def test_the_tokens_of_a_prompt_are_counted_without_its_template(runner, pipeline):
    reading = runner.token_usage(generation("a red circle"))
    assert reading.prompt_tokens == len(pipeline.tokenizer("a red circle").input_ids) > 0
    assert reading.warnings == ()


def test_what_was_cut_was_not_read_and_is_told(runner):
    reading = runner.token_usage(generation("circle " * 3000))
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 1024" in reading.warnings[0]


def test_the_tokens_of_all_images_are_counted_at_the_generated_size(runner, pipeline):
    multiple = pipeline.vae_scale_factor * 2
    exact = generation(width=multiple * 3, height=multiple * 2, count=2)
    assert runner.token_usage(exact).image_tokens == 12
    larger = generation(width=multiple * 3 + 1, height=multiple * 2)
    assert runner.token_usage(larger).image_tokens == 8


def test_they_travel_with_the_images(make_bench, runner):
    bench = make_bench()
    bench.add(1, generation(count=2))
    bench.run()
    [(finished, _)] = bench.of(Finished, 1)
    expected = runner.token_usage(generation(count=2))
    assert finished.outcome.prompt_tokens == expected.prompt_tokens
    assert finished.outcome.image_tokens == expected.image_tokens
