"""The order of the waiting jobs."""

from imageserver.dispatch.jobs import Job
from imageserver.dispatch.queue import JobQueue
from tests.support.factories import generation


def job(number, **changes):
    return Job(id=number, generation=generation(), waiters=[], arrived=0.0, **({"work": 1.0} | changes))


def filled(*jobs):
    queue = JobQueue()
    for waiting in jobs:
        queue.push(waiting)
    return queue


def served(queue):
    """Serve all jobs; return their numbers in order."""
    order = []
    while next_one := next(queue.in_order(0.0), None):
        queue.pop(next_one)
        order.append(next_one.id)
    return order


def test_equal_jobs_are_served_in_the_order_they_came():
    queue = filled(*(job(number) for number in range(3)))
    assert next(queue.in_order(0.0)).id == 0
    assert served(queue) == [0, 1, 2]


def test_a_job_that_is_held_back_lets_others_pass_and_keeps_its_place():
    queue = filled(*(job(number) for number in range(3)), job(3, engine_deaths=1))
    assert next(queue.in_order(0.0, lambda waiting: waiting.id in (0, 3))).id == 1
    assert list(queue.in_order(0.0, lambda waiting: True)) == []
    assert served(queue) == [3, 0, 1, 2]


def test_short_job_goes_before_a_long_one():
    queue = filled(job(1, work=60.0), job(2, work=1.0))
    assert served(queue) == [2, 1]


def test_job_that_lost_an_engine_goes_first():
    queue = filled(job(1), job(2, work=60.0, engine_deaths=1))
    assert served(queue) == [2, 1]


def test_removed_job_is_forgotten_and_a_stranger_is_ignored():
    stays, goes = job(1), job(2)
    queue = filled(stays, goes)
    queue.remove(goes)
    queue.remove(job(3))
    assert list(queue) == [stays]
    assert len(queue) == 1
