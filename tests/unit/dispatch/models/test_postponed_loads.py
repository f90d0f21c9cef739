"""A model that an engine cannot load yet, because its cards are being started again, is not given up there."""

import asyncio
import dataclasses

import pytest

from imageserver.protocol.messages import Failed
from tests.support.dispatch_harness import INFO, Harness

AWAY = Failed(job=0, code="engine_unavailable", sentence="It needs cards that are away.", retry_after=60.0)
TOO_LARGE = Failed(job=0, code="model_unloadable", sentence="It is too large.", param="model")


def refuse(harness, number, failure):
    """Let an engine refuse the model that it was told to load last."""
    last = harness.engines[number].sent[-1]
    harness.load("scripted", job=last.job, failure=failure, seat=harness.seats[number])


def load(harness, number):
    last = harness.engines[number].sent[-1]
    harness.load("scripted", "large", job=last.job, seat=harness.seats[number])


@pytest.mark.parametrize("failures", [(AWAY, TOO_LARGE), (TOO_LARGE, AWAY)], ids=["away first", "away last"])
async def test_a_job_is_told_to_come_again_where_only_cards_that_are_away_can_hold_its_model(failures):
    harness = Harness(seats=2)
    harness.submit(1, model="large")
    for number, failure in enumerate(failures):
        assert harness.worker.of(1) == []
        refuse(harness, number, failure)
    [refusal] = harness.worker.responses
    assert (refusal.code, refusal.sentence, refusal.retry_after) == (AWAY.code, AWAY.sentence, AWAY.retry_after)
    harness.submit(2, model="large")
    assert [len(engine.sent) for engine in harness.engines] == [2, 1], "the next one tries again"


async def test_a_client_that_loads_a_model_is_told_to_come_again_too():
    harness = Harness(seats=2)
    harness.request_model(1, load="large")
    refuse(harness, 0, AWAY)
    refuse(harness, 1, TOO_LARGE)
    assert [message.code for message in harness.worker.responses] == [AWAY.code]


async def test_an_engine_whose_cards_were_away_is_used_again_after_a_while():
    harness = Harness(seats=2, max_queue=100)
    harness.submit(1, model="large")
    refuse(harness, 0, AWAY)
    load(harness, 1)
    harness.finish(1)
    harness.seats[1].models.known["large"] = dataclasses.replace(INFO, name="large", load_time=0.1)
    harness.submit(*range(2, 12), model="large", timeout=600.0)
    assert len(harness.engines[0].sent) == 1, "it has just said that it cannot"
    await asyncio.sleep(AWAY.retry_after + 1)
    harness.dispatcher.engine_changed()
    assert [message.name for message in harness.engines[0].sent] == ["large"] * 2
    load(harness, 0)
    assert harness.engines[0].running != []


async def test_a_model_is_tried_on_cards_that_were_away_as_soon_as_no_other_engine_is_left():
    harness = Harness(seats=2)
    harness.submit(1, model="large")
    refuse(harness, 0, AWAY)
    load(harness, 1)
    await harness.dispatcher.close_seat(harness.seats[1])
    assert [message.name for message in harness.engines[0].sent] == ["large"] * 2
