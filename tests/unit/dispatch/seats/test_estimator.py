"""What a finished generation teaches about the next ones."""

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.estimates.memory_model import MemoryModel
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.enhancement.enhancement import Enhancement
from imageserver.generation import ModelInfo, Outcome
from tests.support.factories import generation

ENHANCED = generation(enhancement=Enhancement(prompt="fox"))


def outcome(**fields: Any) -> Outcome:
    return Outcome(width=64, height=64, seeds=(1,), inference_time=9.0, queue_time=0.0, batch_size=1, **fields)


@pytest.fixture
def seat() -> Any:
    return SimpleNamespace(costs=CostModel(), memory=MemoryModel(), info_of=lambda generation: ModelInfo(name="model"))


def test_what_images_cost_is_learnt_from_enhanced_ones_too_without_the_time_of_their_prompts(seat: Any) -> None:
    estimator = Estimator([])  # type: ignore[arg-type]
    estimator.observe(seat, ENHANCED, outcome(device_time=9.0, writing_time=8.0))
    assert estimator.seconds(seat, generation()) == pytest.approx(1.0)


def test_what_loras_took_to_be_loaded_is_not_learnt_as_the_cost_of_an_image(seat: Any) -> None:
    estimator = Estimator([])  # type: ignore[arg-type]
    estimator.observe(seat, generation(), outcome(device_time=41.0, lora_time=40.0))
    assert estimator.seconds(seat, generation()) == pytest.approx(1.0)


def test_a_peak_that_a_language_model_may_have_reached_is_not_that_of_images(seat: Any) -> None:
    estimator, info = Estimator([]), ModelInfo(name="model")  # type: ignore[arg-type]
    estimator.observe(seat, generation(), outcome(vram_peak_mb=100.0))
    estimator.observe(seat, ENHANCED, outcome(vram_peak_mb=900.0, device_time=9.0, writing_time=8.0))
    assert seat.memory.expected(info, generation()) == 100.0
