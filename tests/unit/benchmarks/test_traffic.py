"""Arrivals and image_requests."""

import itertools
import statistics

import pytest

from benchmarks.traffic import RequestSource, poisson_arrivals


def test_arrivals_repeat_with_their_seed_and_differ_with_another() -> None:
    assert poisson_arrivals(3.0, 20.0, seed=1) == poisson_arrivals(3.0, 20.0, seed=1)
    assert poisson_arrivals(3.0, 20.0, seed=1) != poisson_arrivals(3.0, 20.0, seed=2)


def test_arrivals_come_in_order_inside_their_time_at_their_rate() -> None:
    arrivals = poisson_arrivals(5.0, 2000.0, seed=3)
    assert arrivals == sorted(arrivals)
    assert arrivals[0] > 0
    assert arrivals[-1] < 2000.0
    assert len(arrivals) / 2000.0 == pytest.approx(5.0, rel=0.05)
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    # Of a Poisson stream the gaps' deviation is their mean.
    assert statistics.stdev(gaps) == pytest.approx(statistics.fmean(gaps), rel=0.1)


def test_no_two_orders_of_any_seed_are_the_same_image() -> None:
    image_requests = [source.next((4, 8)) for source in (RequestSource(1), RequestSource(2)) for _ in range(500)]
    assert len({image_request.seed for image_request in image_requests}) == len(image_requests)
    assert {image_request.steps for image_request in image_requests} == {4, 8}


def test_the_same_orders_come_again_with_their_seed() -> None:
    first, second = RequestSource(7).endless((8,)), RequestSource(7).endless((8,))
    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]


def test_a_body_is_understood_by_our_api() -> None:
    from imageserver.api.inputs.generate_request import parse
    from imageserver.settings import Settings

    body = parse(RequestSource(1).next((4,)).body(), Settings(_env_file=None))
    assert (body.num_inference_steps, body.width, body.height) == (4, 512, 512)
