"""What a forward costs is learned by size, for as many sizes as a server generates."""

import math

from imageserver.engine.devices.forward_costs import MAX_SIZES, ForwardCosts


def test_a_batch_not_seen_yet_costs_as_much_as_its_images_one_by_one() -> None:
    costs = ForwardCosts()
    assert costs.seconds(500_000, 2) == 1.0
    costs.observe(100, 1, 2.0)
    assert costs.seconds(100, 2) == 4.0
    costs.observe(100, 2, 2.2)
    assert (costs.seconds(100, 2), costs.seconds(200, 2)) == (2.2, 4.4)


def test_padding_is_worthwhile_up_to_what_a_forward_of_its_own_costs() -> None:
    costs = ForwardCosts()
    costs.observe(100, 1, 2.0)
    assert costs.worthwhile_padding(100) == math.inf, "until forwards of two have been measured"
    costs.observe(100, 2, 9.0)
    assert costs.worthwhile_padding(100) == math.inf, "the first of a kind says nothing"
    for seconds in (5.0, 3.6, 4.0, 3.0, 3.5):
        costs.observe(100, 2, seconds)
    assert costs.worthwhile_padding(100) == 1.0, "the second adds 1 s; padded to twice as long, 2 s"
    assert costs.worthwhile_padding(200) == math.inf


def test_a_size_not_seen_yet_is_scaled_from_the_nearest_one():
    costs = ForwardCosts()
    assert costs.seconds(1_000_000) == 1.0, "before anything was measured only ratios matter"
    costs.observe(100, 1, 2.0)
    costs.observe(10_000, 1, 50.0)
    costs.observe(100, 8, 3.0)
    assert (costs.seconds(100), costs.seconds(200), costs.seconds(20_000)) == (2.0, 4.0, 100.0)


def test_of_very_many_sizes_those_generated_last_are_remembered_however_clients_choose_them():
    costs = ForwardCosts()
    costs.observe(10_000_000, 1, 1.0)
    costs.observe(100, 1, 1.0)
    for pixels in range(1000, 1000 + MAX_SIZES - 1):
        costs.observe(pixels, 1, 1.0)
        costs.observe(100, 1, 1.0)
    assert costs.seconds(100) == 1.0
    assert costs.seconds(10_000_000) > 1000, "the first one is forgotten"
