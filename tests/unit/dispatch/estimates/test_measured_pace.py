"""What was expected of a job is corrected by the pace of its steps."""

import pytest

from imageserver.dispatch.estimates.measured_pace import MeasuredPace


def test_before_the_second_step_the_expectation_is_all_that_is_known():
    pace = MeasuredPace()
    assert pace.work(7.0) == 7.0
    pace.record(1, 20, seconds=30.0)
    assert pace.work(7.0) == 7.0


def test_after_ten_steps_the_measurement_counts_most_and_after_one_the_expectation():
    pace = MeasuredPace()
    found = []
    for step in range(1, 12):
        pace.record(step, 20, seconds=2.0)
        found.append(pace.work(20.0))
    assert found == sorted(found)
    assert found[1] < 30
    assert found[-1] == pytest.approx(40.0, rel=0.15)


def test_a_pace_that_changes_is_followed_within_some_steps():
    pace = MeasuredPace()
    for step in range(1, 100):
        pace.record(step, 200, seconds=1.0 if step < 80 else 4.0)
    assert pace.work(200.0) == pytest.approx(800, rel=0.3)
