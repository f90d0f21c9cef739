"""Captions are learnt apart from images."""

from types import SimpleNamespace

from imageserver.dispatch.estimates.caption_costs import INITIAL_SECONDS
from imageserver.dispatch.estimates.cost_model import CostModel, cost_key
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.generation import ModelInfo, Outcome, Source
from tests.support.factories import generation

CAPTION = generation(count=0, steps=0, caption="sentence", source=Source(strength=1.0, digest="x"))


def test_a_caption_costs_what_the_last_ones_did() -> None:
    costs = CostModel()
    assert costs.seconds(CAPTION) == INITIAL_SECONDS
    costs.observe(CAPTION, 4.0)
    assert costs.seconds(CAPTION) == 4.0
    for _ in range(20):
        costs.observe(CAPTION, 1.0)
    assert 1.0 < costs.seconds(CAPTION) < 1.1


def test_captions_and_images_teach_nothing_about_each_other() -> None:
    costs = CostModel()
    costs.observe(generation(), 3.0)
    costs.observe(CAPTION, 9.0)
    assert (costs.seconds(generation()), costs.seconds(CAPTION)) == (3.0, 9.0)
    assert cost_key(CAPTION) != cost_key(generation())


def test_what_is_written_is_the_cost_of_a_caption_and_says_nothing_about_memory() -> None:
    estimator, observed = Estimator(SeatList()), list[float]()
    memory = SimpleNamespace(observe=lambda *_: observed.append(1), observe_failure=lambda *_: observed.append(2))
    seat = SimpleNamespace(costs=CostModel(), memory=memory, info_of=lambda _: ModelInfo(name="edit", captions=True))
    outcome = Outcome(
        width=64,
        height=64,
        seeds=(),
        inference_time=5.0,
        queue_time=0.0,
        batch_size=1,
        device_time=5.0,
        writing_time=4.9,
        vram_peak_mb=7.0,
    )
    estimator.observe(seat, CAPTION, outcome)
    estimator.observe_failure(seat, CAPTION)
    assert estimator.costs.seconds(CAPTION) == seat.costs.seconds(CAPTION) == 5.0
    assert estimator.obstacle(seat, CAPTION) is None
    assert observed == []
