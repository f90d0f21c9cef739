"""What a pipeline computes becomes an image, or a failure with a sentence."""

import copy

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline

from benchmarks.full_size import SCHEDULER
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine


@pytest.mark.fault(48)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_a_failure_and_no_black_image(
    pipeline: QwenImagePipeline, engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    stock = pipeline.image_processor.postprocess

    def postprocess(image: torch.Tensor, **options: object) -> torch.Tensor:
        images: torch.Tensor = stock(image, **options)
        images[0, 0, 3, 3] = bad
        return images

    monkeypatch.setattr(pipeline.image_processor, "postprocess", postprocess)
    [failed] = engine.generate(generation())
    assert failed.code == "generation_failed"
    assert "NaN or infinite" in failed.sentence


@pytest.mark.fault(48)
@pytest.mark.parametrize("deterministic", [False, True])
def test_infinite_values_of_the_decoder_are_seen_before_they_are_limited(
    pipeline: QwenImagePipeline, engine: TinyEngine, deterministic: bool
) -> None:
    """Clamped they were a white pixel, in an image that was answered with 200 and cached."""

    def spoil(layer: torch.nn.Module, arguments: object, image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        image[..., 3, 3] = float("inf")
        return image

    spoiled = pipeline.vae.decoder.conv_out.register_forward_hook(spoil)
    [failed] = engine.generate(generation(deterministic=deterministic))
    spoiled.remove()
    assert failed.code == "generation_failed"
    assert "NaN or infinite" in failed.sentence
    assert len(engine.generate(generation(deterministic=deterministic))) == 1


def test_one_step_of_a_schedule_that_ends_above_zero_is_refused_and_two_are_an_image(
    pipeline: QwenImagePipeline, engine: TinyEngine
) -> None:
    """With Qwen-Image's published scheduler one step computed 0/0, and a black image was answered."""
    published = copy.copy(pipeline)
    published.scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    served = TinyEngine(published)
    [failed] = served.generate(generation(steps=1))
    assert (failed.code, failed.param) == ("invalid_parameter", "num_inference_steps")
    assert failed.sentence == "num_inference_steps is 1; this model's noise schedule needs at least 2."
    [image] = served.generate(generation(steps=2))
    assert len(np.unique(image)) > 1


def test_the_end_of_an_image_visits_no_module_of_the_transformer(
    pipeline: QwenImagePipeline, engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock end looks for states of caches in every module, while other images wait for their next step."""
    visits = []
    monkeypatch.setattr(pipeline.transformer, "_reset_stateful_cache", lambda recurse=True: visits.append(recurse))
    assert len(engine.generate(generation())) == 1
    assert visits == []
