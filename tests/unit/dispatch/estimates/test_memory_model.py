"""The memory that a generation needs is learnt by size, above what the model itself needs."""

import dataclasses

import pytest

from imageserver.dispatch.estimates.cost_model import MAX_SIZES
from imageserver.dispatch.estimates.memory_model import FAILURE_SECONDS, MAX_PEAKS, MemoryModel
from imageserver.generation import DeviceInfo, Generation, ModelInfo

INFO = ModelInfo(name="m", device=DeviceInfo(memory_mb=1000.0))


def of(side: int) -> Generation:
    return Generation(prompt="x", negative_prompt=" ", width=side, height=side, steps=4, true_cfg_scale=4.0, seed=0)


@pytest.fixture
def model() -> MemoryModel:
    return MemoryModel()


def test_nothing_is_expected_before_anything_was_measured(model: MemoryModel) -> None:
    assert model.expected(INFO, of(512)) is None
    model.observe(INFO, of(512), 0.0)
    assert model.expected(INFO, of(512)) is None


def test_a_size_that_was_seen_takes_its_highest_peak(model: MemoryModel) -> None:
    for peak in (1100.0, 1300.0, 1200.0):
        model.observe(INFO, of(512), peak)
    assert model.expected(INFO, of(512)) == 1300.0


def test_a_peak_is_forgotten_after_enough_newer_ones(model: MemoryModel) -> None:
    model.observe(INFO, of(512), 5000.0)
    for _ in range(MAX_PEAKS):
        model.observe(INFO, of(512), 1200.0)
    assert model.expected(INFO, of(512)) == 1200.0


def test_another_size_is_scaled_from_the_nearest_above_the_model(model: MemoryModel) -> None:
    model.observe(INFO, of(512), 1100.0)
    model.observe(INFO, of(2048), 9000.0)
    assert model.expected(INFO, of(1024)) == 1400.0
    assert model.expected(INFO, of(256)) == 1025.0


def test_models_are_kept_apart(model: MemoryModel) -> None:
    model.observe(INFO, of(512), 1100.0)
    other = ModelInfo(**{**vars(INFO), "name": "other"})
    assert model.expected(other, of(512)) is None


LOADED = ("m",)


def test_what_did_not_fit_alone_is_refused_with_what_was_generated_and_smaller_ones_are_not(model: MemoryModel) -> None:
    model.observe(INFO, of(512), 1100.0)
    model.observe(INFO, of(1024), 2048.0)
    model.observe_failure(INFO, of(2048), LOADED)
    for side in (2048, 3000):
        reason = model.obstacle(INFO, of(side), LOADED)
        assert reason is not None
        assert f"{side}x{side} is not tried" in reason
        assert "One of 1048576 pixels was generated, with 2.0 GiB at its peak" in reason
    assert model.obstacle(INFO, of(2047), LOADED) is None


def test_what_was_generated_before_and_several_images_at_once_say_nothing(model: MemoryModel) -> None:
    model.observe(INFO, of(1024), 2048.0)
    model.observe_failure(INFO, of(1024), LOADED)
    model.observe_failure(INFO, dataclasses.replace(of(2048), count=2), LOADED)
    assert model.obstacle(INFO, of(2048), LOADED) is None


def test_the_smallest_failure_counts(model: MemoryModel) -> None:
    model.observe_failure(INFO, of(2048), LOADED)
    model.observe_failure(INFO, of(3000), LOADED)
    assert model.obstacle(INFO, of(2048), LOADED) is not None


def test_a_larger_one_that_was_generated_after_all_is_believed(model: MemoryModel) -> None:
    model.observe_failure(INFO, of(1024), LOADED)
    model.observe(INFO, of(1024), 2000.0)
    assert model.obstacle(INFO, of(1024), LOADED) is None


def test_with_other_models_in_memory_or_after_a_while_it_is_tried_again() -> None:
    now = 0.0
    model = MemoryModel(clock=lambda: now)
    model.observe_failure(INFO, of(1024), ("m", "other"))
    assert model.obstacle(INFO, of(1024), LOADED) is None
    model.observe_failure(INFO, of(1024), LOADED)
    assert model.obstacle(INFO, of(1024), LOADED) is not None
    now = FAILURE_SECONDS + 1
    assert model.obstacle(INFO, of(1024), LOADED) is None


def test_of_very_many_sizes_the_last_ones_are_remembered(model: MemoryModel) -> None:
    model.observe(INFO, of(4000), 9000.0)
    for side in range(64, 64 + MAX_SIZES):
        model.observe(INFO, of(side), 1100.0)
    assert model.expected(INFO, of(64)) == 1100.0
    assert model.expected(INFO, of(4000)) > 10_000, "only the small ones are known, and scaled"
