"""When a generation would be done: after what goes before it, and after what runs when there is no room."""

from imageserver.dispatch.estimates.queue_wait import SeatLoad, estimate_wait
from imageserver.dispatch.jobs import Job
from tests.support.factories import generation

NOW = 100.0


def job(number: int, work: float, done: float = 0.0) -> Job:
    # Just arrived: nobody is due yet.
    return Job(number, generation(), [], arrived=NOW, work=work, share_done=done)


def test_the_work_that_goes_before_is_waited_for():
    running, waiting = [job(1, work=8.0, done=0.75)], [job(2, work=1.0).claim, job(3, work=50.0).claim]
    expected = estimate_wait(job(9, work=5.0), [SeatLoad(running, room=True)], waiting, NOW)
    assert (expected.own, expected.wait, expected.position) == (5.0, 3.0, 2)
    assert expected.total == 8.0


def test_a_short_job_does_not_wait_for_a_long_one_that_runs_while_there_is_room():
    assert estimate_wait(job(9, work=1.0), [SeatLoad([job(1, work=100.0)], room=True)], [], NOW).wait == 0.0


def test_without_room_what_runs_goes_first_however_long_it_is():
    expected = estimate_wait(
        job(9, work=1.0), [SeatLoad([job(1, work=100.0)], room=False)], [job(2, work=50.0).claim], NOW
    )
    assert (expected.wait, expected.position) == (100.0, 1)


def test_what_has_begun_counts_what_is_left_of_it():
    assert estimate_wait(job(1, work=8.0, done=0.75), [SeatLoad([], room=True)], [], NOW).total == 2.0
