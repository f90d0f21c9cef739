"""What was learnt of a machine is forgotten when it has been away for long."""

import pytest

from imageserver.dispatch.seats.far.retry_pauses import FIRST_PAUSE_SECONDS, REMEMBERED_SECONDS, RetryPauses


@pytest.mark.parametrize(("quiet", "pause"), [(0.9, 60.0), (1.1, FIRST_PAUSE_SECONDS)])
def test_a_machine_that_was_away_for_an_hour_begins_with_a_short_pause_again(quiet, pause):
    pauses = RetryPauses()
    pauses.begin("10.0.0.7 cpu", 0.0)
    pauses.begin("10.0.0.8 cpu", later := FIRST_PAUSE_SECONDS + quiet * REMEMBERED_SECONDS)
    pauses.begin("10.0.0.7 cpu", later)
    assert "10.0.0.7 cpu" in pauses.machines(later + pause - 1)
    assert "10.0.0.7 cpu" not in pauses.machines(later + pause)


def test_machines_that_never_come_back_are_not_remembered_for_ever():
    pauses = RetryPauses()
    for number in range(1000):
        pauses.begin(f"machine {number}", 60.0 * number)
    assert len(pauses._until) <= (REMEMBERED_SECONDS + FIRST_PAUSE_SECONDS) / 60 + 1
    assert pauses._until.keys() == pauses._next_seconds.keys()
