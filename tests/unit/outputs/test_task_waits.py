"""A task that cannot run waits longer after each attempt, within limits."""

import pytest

from imageserver.outputs import task_waits
from imageserver.outputs.task_waits import MAX_PAUSE_SECONDS, TaskWaits

AWAY = "No engine."


def test_each_attempt_doubles_the_pause_up_to_a_minute():
    waits = TaskWaits()
    pauses = [waits.extend("a", AWAY, 2.0).pause for _ in range(8)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, *[MAX_PAUSE_SECONDS] * 3]


def test_a_longer_pause_that_is_asked_for_is_kept():
    assert TaskWaits().extend("a", AWAY, 90.0).pause == 90.0


def test_a_full_queue_is_asked_again_when_it_said_so():
    waits = TaskWaits()
    assert [waits.extend("a", "Full.", 1.0, grows=False).pause for _ in range(5)] == [1.0] * 5


@pytest.mark.parametrize(("reasons", "new"), [("aaa", [True, False, False]), ("aab", [True, False, True])])
def test_a_reason_is_new_only_when_it_changes(reasons, new):
    waits = TaskWaits()
    assert [waits.extend("a", reason, 1.0).is_new for reason in reasons] == new


def test_a_task_that_has_ended_begins_again_and_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(task_waits, "MAX_TASKS", 2)
    waits = TaskWaits()
    waits.extend("a", AWAY, 1.0)
    waits.end("a")
    assert waits.extend("a", AWAY, 1.0).is_new
    for task in "bc":
        waits.extend(task, AWAY, 1.0)
    assert [task in waits for task in "abc"] == [False, True, True]
