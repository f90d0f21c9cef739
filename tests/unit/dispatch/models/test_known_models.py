"""A model can do what it can on any of its seats, whichever has loaded it first."""

import dataclasses

from imageserver.protocol.messages import ModelsLoaded
from tests.support.dispatch_harness import INFO, Harness, Recorder


def report(harness, number, **abilities):
    """Let an engine report the one model that it has."""
    info = dataclasses.replace(INFO, pid=number + 1, **abilities)
    harness.dispatcher.model_event(harness.seats[number], ModelsLoaded(job=0, models=(info,)))


def known_to(harness):
    """Return what clients are told of the model."""
    worker = Recorder()
    harness.dispatcher.join(worker)
    [info] = worker.snapshots[-1].models
    return info


async def test_captions_and_better_prompts_of_the_second_seat_are_those_of_the_server():
    harness = Harness(seats=2, loaded=False)
    report(harness, 0)
    report(harness, 1, captions=True, enhances=True)
    info = known_to(harness)
    assert (info.captions, info.enhances) == (True, True)
    assert info.pid == 1, "everything else is the first seat's"
    report(harness, 0)
    assert known_to(harness).captions


async def test_what_only_a_seat_could_that_is_gone_is_not_offered_any_more():
    harness = Harness(seats=2, loaded=False)
    report(harness, 1, captions=True)
    harness.dispatcher.seats.remove(harness.seats[1])
    report(harness, 0)
    assert not known_to(harness).captions


async def test_what_only_a_seat_could_that_has_failed_for_good_is_not_offered_any_more():
    harness = Harness(seats=2, loaded=False)
    report(harness, 0)
    report(harness, 1, captions=True)
    harness.engines[1].state = "restarting"
    harness.dispatcher.engine_lost(harness.seats[1], silent=False)
    assert known_to(harness).captions, "it comes back"
    harness.engines[1].state = "failed"
    harness.dispatcher.engine_lost(harness.seats[1], silent=False)
    assert not known_to(harness).captions
