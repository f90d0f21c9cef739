"""What a forward costs is learned by size, for as many sizes as a server generates."""

from imageserver.engine.devices.forward_costs import MAX_SIZES, ForwardCosts


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
