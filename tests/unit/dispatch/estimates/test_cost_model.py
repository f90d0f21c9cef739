"""The cost model learns a device quickly and says how wrong it is."""

import random

import pytest

from imageserver.dispatch.estimates.cost_model import MAX_SIZES, CostModel
from imageserver.generation import Generation, Upscale
from tests.support.factories import generation


def device_seconds(wanted: Generation) -> float:
    """A device with a fixed part and a cost per call, per pixel."""
    calls = wanted.steps * (2 if wanted.true_cfg_scale > 1 else 1)
    return wanted.count * wanted.width * wanted.height / 1e6 * (0.4 + 0.05 * calls)


def random_generation(dice: random.Random) -> Generation:
    side = dice.choice([256, 512, 1024])
    scale = dice.choice([1.0, 4.0])
    return generation(
        width=side, height=side, steps=dice.randint(1, 50), true_cfg_scale=scale, count=dice.choice([1, 2])
    )


def test_after_twenty_noisy_jobs_the_median_error_is_below_a_fifth() -> None:
    dice, costs = random.Random(1), CostModel()
    for _ in range(20):
        wanted = random_generation(dice)
        costs.observe(wanted, device_seconds(wanted) * dice.uniform(0.9, 1.1))
    errors = []
    for _ in range(100):
        wanted = random_generation(dice)
        errors.append(abs(costs.seconds(wanted) / device_seconds(wanted) - 1))
    assert sorted(errors)[50] < 0.2
    assert costs.median_error is not None
    assert costs.median_error < 0.4


def test_the_first_measurement_is_believed() -> None:
    costs = CostModel()
    assert not costs.learnt
    costs.observe(generation(), 3.0)
    assert costs.learnt
    assert costs.seconds(generation()) == 3.0


def test_a_size_not_seen_yet_is_scaled_from_the_nearest_one() -> None:
    costs = CostModel()
    costs.observe(generation(width=512, height=512), 2.0)
    assert costs.seconds(generation(width=1024, height=1024)) == 8.0


def test_a_tiny_image_does_not_make_a_large_one_look_hopeless() -> None:
    costs = CostModel()
    costs.observe(generation(width=64, height=64), 2.0)
    assert costs.seconds(generation(width=512, height=512)) == 2.0
    assert costs.seconds(generation(width=1024, height=1024)) == 8.0


def test_a_single_step_is_not_taken_for_the_pace_of_many() -> None:
    costs = CostModel()
    costs.observe(generation(steps=1, true_cfg_scale=1.0), 0.5)
    assert costs.seconds(generation(steps=41, true_cfg_scale=1.0)) == 4.5


def test_guidance_that_costs_a_tenth_more_is_learnt_beside_images_without_it() -> None:
    """As on a card that computes both calls of a step in one forward."""
    dice, costs = random.Random(3), CostModel()

    def seconds(wanted: Generation) -> float:
        return 0.2 + 0.1 * wanted.steps * (1.1 if wanted.true_cfg_scale > 1 else 1.0)

    for _ in range(40):
        wanted = generation(steps=dice.randint(10, 50), true_cfg_scale=dice.choice([1.0, 4.0]))
        costs.observe(wanted, seconds(wanted))
    for scale in (1.0, 4.0):
        wanted = generation(steps=30, true_cfg_scale=scale)
        assert abs(costs.seconds(wanted) / seconds(wanted) - 1) < 0.01


def test_guidance_not_seen_yet_costs_twice_the_calls() -> None:
    costs = CostModel()
    costs.observe(generation(steps=4, true_cfg_scale=1.0), 1.0)
    costs.observe(generation(steps=8, true_cfg_scale=1.0), 2.0)
    assert abs(costs.seconds(generation(steps=5, true_cfg_scale=4.0)) - 2.5) < 0.1


def test_fewer_steps_never_cost_more_and_never_less_than_nothing() -> None:
    dice, costs = random.Random(2), CostModel()
    for _ in range(30):
        costs.observe(generation(steps=dice.randint(10, 20)), dice.uniform(0.5, 5.0))
    expected = [costs.seconds(generation(steps=steps)) for steps in range(1, 60)]
    assert expected == sorted(expected)
    assert expected[0] >= 0


def test_a_device_that_became_slower_is_followed() -> None:
    costs = CostModel()
    for _ in range(20):
        costs.observe(generation(), 1.0)
    for _ in range(30):
        costs.observe(generation(), 2.0)
    assert abs(costs.seconds(generation()) - 2.0) < 0.1


def test_of_very_many_sizes_the_last_ones_are_remembered() -> None:
    costs = CostModel()
    costs.observe(generation(width=4000, height=4000), 1.0)
    for side in range(64, 64 + MAX_SIZES):
        costs.observe(generation(width=side, height=side), 2.0)
    assert costs.seconds(generation(width=64, height=64)) == 2.0
    assert costs.seconds(generation(width=4000, height=4000)) > 2.0, "only the small ones are known, and scaled"


def test_two_stages_cost_as_much_as_their_images_and_teach_nothing_about_either() -> None:
    costs, upscale = CostModel(), Upscale(width=96, height=96, strength=0.5, steps=4, tile=(64, 64))
    for steps in (2, 4):
        costs.observe(generation(steps=steps), 0.5 + steps)
    alone, tile = costs.seconds(generation()), costs.seconds(generation(steps=2))
    staged = generation(upscale=upscale)
    assert costs.seconds(staged) == pytest.approx(alone + 4 * tile)
    costs.observe(staged, 1000.0)
    assert costs.seconds(generation()) == alone
