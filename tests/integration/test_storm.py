"""A storm of clients, hang-ups, rubbish and kills: every request is answered rightly, and no task is lost."""

import os
import statistics

import pytest

from tests.support.storm import Storm, StormPlan

FULL = "QIS_FULL" in os.environ
PLAN = StormPlan(200, 300, 30, 45) if FULL else StormPlan(40, 15, 5, 8)
MAX_MB_PER_100_JOBS = 1
ENDED = {"completed", "failed"}

# Processes are killed here, and their replacements take time.
pytestmark = pytest.mark.alone


@pytest.mark.fault(19)
@pytest.mark.timeout(PLAN.seconds + 180)
def test_in_a_storm_every_request_is_answered_rightly_and_no_task_is_lost(own_servers):
    server = own_servers(MAX_QUEUE="64")
    storm = Storm(server, PLAN)
    storm.run()
    assert storm.faults == [], storm.answers
    assert storm.answers["image"] > 10, storm.answers
    assert storm.tasks, storm.answers
    server.wait_for(lambda: all(state in ENDED for state in states_of(server, storm.tasks)), "the tasks", 60)
    # Nobody is left who waits or runs, and the next request is an image.
    server.wait_until_idle()
    assert server.generate().ok
    if FULL:
        assert growth(storm) < MAX_MB_PER_100_JOBS, storm.memory_mb


def states_of(server, tasks):
    return [server.get(f"/status/{task}").json()["status"] for task in tasks]


def growth(storm):
    """Return by how many MB the lasting processes grew for 100 jobs, from the second quarter to the last."""
    quarter = len(storm.memory_mb) // 4
    second, last = storm.memory_mb[quarter : 2 * quarter], storm.memory_mb[-quarter:]
    return (statistics.mean(last) - statistics.mean(second)) / (sum(storm.answers.values()) / 100 * 0.625)
