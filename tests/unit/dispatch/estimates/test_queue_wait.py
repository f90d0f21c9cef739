"""When a generation would be done: after what goes before it, and after what runs when there is no room."""

import dataclasses
import random
import time

import pytest

from imageserver.dispatch.estimates import queue_wait
from imageserver.dispatch.estimates.queue_wait import MAX_SIMULATED, SeatLoad, estimate_wait
from imageserver.dispatch.jobs import Job
from imageserver.scheduling_policy import ClaimOrder, by_credential
from tests.support.factories import generation

NOW = 100.0


def job(number: int, work: float, done: float = 0.0) -> Job:
    # Just arrived: nobody is due yet.
    return Job(number, generation(), [], arrived=NOW, work=work, share_done=done)


def test_the_work_that_goes_before_is_waited_for():
    running, waiting = [job(1, work=8.0, done=0.75)], by_credential([job(2, work=1.0).claim, job(3, work=50.0).claim])
    expected = estimate_wait(job(9, work=5.0), [SeatLoad(running, room=True)], waiting, NOW)
    assert (expected.own, expected.wait, expected.position) == (5.0, 3.0, 2)
    assert expected.total == 8.0


def test_a_short_job_does_not_wait_for_a_long_one_that_runs_while_there_is_room():
    assert estimate_wait(job(9, work=1.0), [SeatLoad([job(1, work=100.0)], room=True)], [], NOW).wait == 0.0


def test_without_room_what_runs_goes_first_however_long_it_is():
    expected = estimate_wait(
        job(9, work=1.0), [SeatLoad([job(1, work=100.0)], room=False)], by_credential([job(2, work=50.0).claim]), NOW
    )
    assert (expected.wait, expected.position) == (100.0, 1)


def test_what_has_begun_counts_what_is_left_of_it():
    assert estimate_wait(job(1, work=8.0, done=0.75), [SeatLoad([], room=True)], [], NOW).total == 2.0


def long_queue(dice: random.Random, count: int, keys: int) -> list[ClaimOrder]:
    waiting = [job(number, work=dice.choice([1.0, 4.0, 9.0])) for number in range(count)]
    return by_credential(dataclasses.replace(each.claim, credential=f"key{dice.randrange(keys)}") for each in waiting)


@pytest.mark.parametrize("keys", [1, 2, 10])
@pytest.mark.parametrize("paces", [(1.0,), (1.0, 1.0, 2.0, 0.5)])
def test_of_a_long_queue_the_estimate_is_close_to_what_is_found_job_by_job(
    monkeypatch: pytest.MonkeyPatch, keys: int, paces: tuple[float, ...]
):
    dice = random.Random(keys)
    seats = [SeatLoad([job(1000 + number, work=number)], room=False, pace=pace) for number, pace in enumerate(paces)]
    waiting = long_queue(dice, 3 * MAX_SIMULATED, keys)
    for work in (4.5, 20.0):
        new = dataclasses.replace(job(9999, work=work), credential="key0")
        rough = estimate_wait(new, seats, waiting, NOW)
        with monkeypatch.context() as patch:
            patch.setattr(queue_wait, "MAX_SIMULATED", sum(map(len, waiting)) + 1)
            exact = estimate_wait(new, seats, waiting, NOW)
        assert rough.wait == pytest.approx(exact.wait, rel=0.05, abs=10.0)
        assert rough.position == pytest.approx(exact.position, rel=0.1, abs=3)


def test_an_estimate_in_a_long_queue_takes_little_longer_than_in_a_short_one():
    def seconds(count: int) -> float:
        waiting, times = long_queue(random.Random(1), count, 10), []
        new = dataclasses.replace(job(9999, work=99.0), credential="key0")
        for _ in range(10):
            began = time.thread_time()
            estimate_wait(new, [SeatLoad()] * 8, waiting, NOW)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(20 * MAX_SIMULATED) < 2 * seconds(MAX_SIMULATED - 1)


def test_a_job_that_waits_itself_does_not_go_before_itself():
    waiting = [job(number, work=1.0).claim for number in range(2 * MAX_SIMULATED)]
    last = job(2 * MAX_SIMULATED, work=2.0)
    expected = estimate_wait(last, [SeatLoad()], by_credential([*waiting, last.claim]), NOW)
    assert (expected.wait, expected.position) == (2.0 * MAX_SIMULATED, 2 * MAX_SIMULATED)


def test_jobs_that_are_due_go_first_and_no_other_is_counted_twice():
    old = [dataclasses.replace(job(number, work=9.0).claim, arrived=NOW - 100.0) for number in range(MAX_SIMULATED)]
    young = [job(MAX_SIMULATED + number, work=1.0).claim for number in range(MAX_SIMULATED)]
    expected = estimate_wait(job(9999, work=2.0), [SeatLoad()], by_credential(old + young), NOW)
    assert (expected.wait, expected.position) == (10.0 * MAX_SIMULATED, 2 * MAX_SIMULATED)
    due = dataclasses.replace(job(9998, work=2.0), arrived=NOW - 99.0)
    assert estimate_wait(due, [SeatLoad()], by_credential(old + young), NOW).position == 0


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_key_that_waits_and_runs_and_has_lost_engines_takes_one_share_of_the_device(is_lost: bool):
    own = [job(number, work=0.25).claim for number in range(40)]
    waiting = [dataclasses.replace(job(1000 + number, work=1.0).claim, credential="rival") for number in range(100)]
    lost = [dataclasses.replace(job(3000 + number, work=4.0).claim, credential="rival") for number in range(4)]
    running = [dataclasses.replace(job(2000 + number, work=4.0), credential="rival") for number in range(4)]
    queues = by_credential(own + waiting) + (by_credential(lost) if is_lost else [])
    expected = estimate_wait(job(9999, work=5.0), [SeatLoad(running, room=True)], queues, NOW)
    assert (expected.wait, expected.position) == (20.0, 50)
