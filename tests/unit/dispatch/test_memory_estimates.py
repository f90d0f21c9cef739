"""What a generation will take of the memory is learnt by size, above what the model itself takes."""

import pytest

from imageserver.dispatch.memory_estimates import REMEMBERED_PEAKS, MemoryModel
from imageserver.generation import Generation, ModelFacts

FACTS = ModelFacts(
    name="m", family="f", reason="", device="cpu", gpu="CPU", cuda_version="N/A", dtype="float32", scheduler="",
    parameters=1, size_mb=1.0, memory_mb=1000.0, load_time=0.0, pid=1,
)  # fmt: skip


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
    other = ModelFacts(**{**vars(FACTS), "name": "other"})
    assert model.expected(other, of(512)) is None
