"""The intervals that the figures of the scenario `telemetry` come with."""

import random
import statistics

from benchmarks.paired.bootstrap import bootstrap_interval
from benchmarks.scenarios.telemetry import percentage


def test_the_interval_holds_the_true_median_about_nineteen_times_in_twenty(monkeypatch):
    monkeypatch.setattr("benchmarks.paired.bootstrap.RESAMPLES", 200)
    chance = random.Random(1)
    samples = [[chance.gauss(3.0, 1.0) for _ in range(50)] for _ in range(100)]
    intervals = [bootstrap_interval(statistics.median, sample) for sample in samples]
    assert 0.88 < statistics.mean(low <= 3.0 <= high for low, high in intervals) < 1.0


def test_an_interval_of_a_ratio_is_as_wide_as_both_of_its_parts_are_uncertain():
    steady, spread = [1.0] * 40, [1.0 + 0.02 * number for number in range(-20, 20)]
    assert bootstrap_interval(percentage, steady, steady) == (100.0, 100.0)
    for differences, whole in ((spread, steady), (steady, spread)):
        low, high = bootstrap_interval(percentage, differences, whole)
        assert low < 97 < 103 < high
