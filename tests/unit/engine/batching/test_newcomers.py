"""Images that arrive do not stop those under way: few begin before each forward, in the order of their turns."""

from typing import Any

import pytest

from imageserver.engine.batching.newcomers import MAX_BEGUN
from imageserver.generation import Generation
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine


@pytest.fixture
def begun(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of the images that began before each forward."""
    before: list[list[int]] = [[]]
    run = engine.runner.run

    def watched(wanted: Generation, index: int, *others: Any) -> Any:
        before[-1].append(wanted.seed + index)
        return run(wanted, index, *others)

    monkeypatch.setattr(engine.runner, "run", watched)
    engine.before_forward = lambda: before.append([])
    return before


def test_sixteen_arrivals_let_the_image_under_way_continue(engine: TinyEngine, begun: list[list[int]]) -> None:
    engine.add(0, generation(steps=30))
    engine.step(1)
    for job in range(1, 17):
        engine.add(job, generation(seed=job, steps=30))
    engine.step(20)
    assert [len(images) for images in begun[1:9]] == [MAX_BEGUN] * 8
    assert sum(len(images) for images in begun) == 17
    engine.run()


def test_the_images_of_one_request_arrive_one_after_the_other_too(engine: TinyEngine, begun: list[list[int]]) -> None:
    engine.add(0, generation(steps=9))
    engine.step(1)
    engine.add(1, generation(seed=10, count=5, steps=2))
    engine.step(3)
    assert begun[1:4] == [[10, 11], [12, 13], [14]]
    engine.run()


def test_whoever_is_next_begins_first(engine: TinyEngine, begun: list[list[int]]) -> None:
    engine.add(0, generation(steps=30, seed=100))
    engine.step(1)
    for job in range(1, 4):
        engine.add(job, generation(seed=job, priority="background"))
    engine.add(4, generation(seed=4, priority="interactive"))
    engine.step(2)
    assert begun[1:3] == [[4, 1], [2, 3]]
    engine.run()


def test_where_nobody_waits_a_whole_batch_begins_at_once(engine: TinyEngine, begun: list[list[int]]) -> None:
    engine.generate(*(generation(seed=seed, true_cfg_scale=1.0) for seed in range(5)))
    assert (begun[0], engine.batches[0]) == ([0, 1, 2, 3, 4], 5)
