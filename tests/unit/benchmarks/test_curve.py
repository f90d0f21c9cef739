"""The simulated device's cost of a forward."""

import pytest

from benchmarks.curve import POINTS, forward_seconds, seconds_at_512


@pytest.mark.parametrize(("batch", "seconds"), POINTS)
def test_the_published_figures_are_kept(batch: int, seconds: float) -> None:
    assert forward_seconds(512 * 512, batch) == pytest.approx(seconds)


def test_between_and_beyond_the_figures_the_curve_is_straight() -> None:
    assert seconds_at_512(6) == pytest.approx((0.240 + 0.425) / 2)
    assert seconds_at_512(24) == pytest.approx(0.832 + (0.832 - 0.425))


def test_a_small_image_costs_no_less_than_the_smallest_published_forward() -> None:
    assert forward_seconds(256 * 256, 1) == 0.167


def test_three_large_images_in_one_forward_gain_two_percent() -> None:
    side = 1024 * 1024
    assert 3 * forward_seconds(side, 1) / forward_seconds(side, 3) == pytest.approx(1.02)
    assert 8 * forward_seconds(side, 1) / forward_seconds(side, 8) == pytest.approx(1.02)


def test_a_large_image_costs_what_its_tokens_cost_as_small_ones() -> None:
    assert forward_seconds(1024 * 1024, 1) == pytest.approx(forward_seconds(512 * 512, 4))


def test_more_images_never_cost_less() -> None:
    for side in (256, 512, 768, 1024, 1328):
        costs = [forward_seconds(side * side, batch) for batch in range(1, 33)]
        assert costs == sorted(costs)
