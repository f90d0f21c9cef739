"""The engine tells how many tokens it read and generated."""

from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.protocol.messages import Finished
from tests.support.factories import generation


def test_the_tokens_of_a_prompt_are_counted_without_its_template(engine):
    usage = engine.runner.token_usage(generation("a red circle"))
    assert usage.prompt_tokens == len(engine.pipeline.tokenizer("a red circle").input_ids) > 0
    assert usage.warnings == ()


def test_what_was_cut_was_not_read_and_is_told(engine):
    usage = engine.runner.token_usage(generation("circle " * 3000))
    assert usage.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 1024" in usage.warnings[0]


def test_the_tokens_of_all_images_are_counted_at_the_generated_size(engine):
    multiple = engine.pipeline.vae_scale_factor * 2
    exact = generation(width=multiple * 3, height=multiple * 2, count=2)
    assert engine.runner.token_usage(exact).image_tokens == 12
    larger = generation(width=multiple * 3 + 1, height=multiple * 2)
    assert engine.runner.token_usage(larger).image_tokens == 8


def test_they_travel_with_the_images(engine):
    engine.generate(generation(count=2))
    [(finished, _)] = engine.of(Finished)
    expected = engine.runner.token_usage(generation(count=2))
    assert finished.outcome.prompt_tokens == expected.prompt_tokens
    assert finished.outcome.image_tokens == expected.image_tokens
