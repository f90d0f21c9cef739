"""What a generation will take of the memory is learnt by size, above what the model itself takes."""

import dataclasses
import time

import pytest

from imageserver.dispatch.estimates.cost_model import MAX_SIZES
from imageserver.dispatch.estimates.memory_model import REMEMBERED_FAILURE, REMEMBERED_PEAKS, MemoryModel
from imageserver.generation import DeviceInfo, Generation, ModelInfo

FACTS = ModelInfo(name="m", device=DeviceInfo(memory_mb=1000.0))


def of(side: int) -> Generation:
    return Generation(prompt="x", negative_prompt=" ", width=side, height=side, steps=4, true_cfg_scale=4.0, seed=0)


@pytest.fixture
def model() -> MemoryModel:
    return MemoryModel()


def test_nothing_is_expected_before_anything_was_measured(model: MemoryModel) -> None:
    assert model.expected(FACTS, of(512)) is None
    model.observe(FACTS, of(512), 0.0)
    assert model.expected(FACTS, of(512)) is None


def test_a_size_that_was_seen_takes_its_highest_peak(model: MemoryModel) -> None:
    for peak in (1100.0, 1300.0, 1200.0):
        model.observe(FACTS, of(512), peak)
    assert model.expected(FACTS, of(512)) == 1300.0


def test_a_peak_is_forgotten_after_enough_newer_ones(model: MemoryModel) -> None:
    model.observe(FACTS, of(512), 5000.0)
    for _ in range(REMEMBERED_PEAKS):
        model.observe(FACTS, of(512), 1200.0)
    assert model.expected(FACTS, of(512)) == 1200.0


def test_another_size_is_scaled_from_the_nearest_above_the_model(model: MemoryModel) -> None:
    model.observe(FACTS, of(512), 1100.0)
    model.observe(FACTS, of(2048), 9000.0)
    assert model.expected(FACTS, of(1024)) == 1400.0
    assert model.expected(FACTS, of(256)) == 1025.0


def test_models_are_kept_apart(model: MemoryModel) -> None:
    model.observe(FACTS, of(512), 1100.0)
    other = ModelInfo(**{**vars(FACTS), "name": "other"})
    assert model.expected(other, of(512)) is None


HELD = ("m",)


def test_what_did_not_fit_alone_is_refused_with_what_was_generated_and_smaller_ones_are_not(model: MemoryModel) -> None:
    model.observe(FACTS, of(512), 1100.0)
    model.observe(FACTS, of(1024), 2048.0)
    model.observe_failure(FACTS, of(2048), HELD)
    for side in (2048, 3000):
        reason = model.obstacle(FACTS, of(side), HELD)
        assert reason is not None
        assert f"{side}x{side} is not tried" in reason
        assert "One of 1048576 pixels was generated, with 2.0 GiB at its peak" in reason
    assert model.obstacle(FACTS, of(2047), HELD) is None


def test_what_was_generated_before_and_several_images_at_once_say_nothing(model: MemoryModel) -> None:
    model.observe(FACTS, of(1024), 2048.0)
    model.observe_failure(FACTS, of(1024), HELD)
    model.observe_failure(FACTS, dataclasses.replace(of(2048), count=2), HELD)
    assert model.obstacle(FACTS, of(2048), HELD) is None


def test_the_smallest_failure_counts(model: MemoryModel) -> None:
    model.observe_failure(FACTS, of(2048), HELD)
    model.observe_failure(FACTS, of(3000), HELD)
    assert model.obstacle(FACTS, of(2048), HELD) is not None


def test_a_larger_one_that_was_generated_after_all_is_believed(model: MemoryModel) -> None:
    model.observe_failure(FACTS, of(1024), HELD)
    model.observe(FACTS, of(1024), 2000.0)
    assert model.obstacle(FACTS, of(1024), HELD) is None


def test_with_other_models_in_memory_or_after_a_while_it_is_tried_again(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.observe_failure(FACTS, of(1024), ("m", "other"))
    assert model.obstacle(FACTS, of(1024), HELD) is None
    model.observe_failure(FACTS, of(1024), HELD)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + REMEMBERED_FAILURE + 1)
    assert model.obstacle(FACTS, of(1024), HELD) is None


def test_of_very_many_sizes_the_last_ones_are_remembered(model: MemoryModel) -> None:
    model.observe(FACTS, of(4000), 9000.0)
    for side in range(64, 64 + MAX_SIZES):
        model.observe(FACTS, of(side), 1100.0)
    assert model.expected(FACTS, of(64)) == 1100.0
    assert model.expected(FACTS, of(4000)) > 10_000, "only the small ones are known, and scaled"
