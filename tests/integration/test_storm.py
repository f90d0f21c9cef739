"""A storm of clients, hang-ups, rubbish and kills: every request is answered rightly, and no task is lost."""

import os
import statistics

import pytest

from tests.support.saved_seeds import saved_seeds
from tests.support.storm import Storm, StormPlan

FULL = "QIS_FULL" in os.environ
PLAN = StormPlan(200, 300, 30, 45) if FULL else StormPlan(40, 15, 5, 8)
MAX_MB_PER_100_JOBS = 1
# One a second; younger processes still load what they need.
MIN_SAMPLES = 20
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
    # A worker that is killed after it has saved a task's image, and before it has written so, leaves one behind.
    saved = saved_seeds(server.output_dir)
    assert saved
    doubled = [seed for seed, count in saved.items() if count > 1]
    assert len(doubled) <= storm.killed_workers
    # Nobody is left who waits or runs, and the next request is an image.
    server.wait_until_idle()
    assert server.generate().ok
    if FULL:
        growth = {name: slope(samples) for name, samples in storm.memory.items() if len(samples) >= MIN_SAMPLES}
        assert len(growth) > 4, "main process, dispatcher, and the engines and workers between two kills"
        assert all(slope < MAX_MB_PER_100_JOBS for slope in growth.values()), growth


def states_of(server, tasks):
    return [server.get(f"/status/{task}").json()["status"] for task in tasks]


def slope(samples):
    """Return by how many MB a process grew for 100 jobs, from the second quarter of its life to the last."""
    quarter = len(samples) // 4
    (jobs_then, mb_then), (jobs_now, mb_now) = (
        [statistics.mean(numbers) for numbers in zip(*part, strict=True)]
        for part in (samples[quarter : 2 * quarter], samples[-quarter:])
    )
    return 100 * (mb_now - mb_then) / max(1.0, jobs_now - jobs_then)
