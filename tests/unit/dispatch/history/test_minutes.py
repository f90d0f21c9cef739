"""The last hour can be seen minute by minute: what waited, ran and was refused, and how busy each device was."""

import asyncio

import pytest

from imageserver.protocol.messages import DeviceUsage
from tests.support.dispatch_harness import Harness


@pytest.fixture
def minutes(harness, virtual_time):
    async def begin():
        harness.dispatcher.watch(harness.dispatcher.history.watch())

    virtual_time.run(begin())
    return harness.dispatcher.history.all


async def test_a_minute_has_the_means_of_what_waited_and_ran(harness, minutes):
    assert minutes() == ()
    harness.submit(1, 2, 3, timeout=500.0)
    harness.progress(1)
    await asyncio.sleep(30.5)
    harness.finish(1)
    harness.finish(2)
    harness.finish(3)
    await asyncio.sleep(30)
    [minute] = minutes()
    assert (minute.queued, minute.running) == (1.0, 0.5)
    assert minute.seconds == pytest.approx(60, abs=0.1)


async def test_a_request_that_an_engine_holds_waits_until_it_is_begun_as_in_the_list_of_jobs(virtual_time):
    harness = Harness(room=3)
    harness.dispatcher.watch(harness.dispatcher.history.watch())
    harness.submit(1, 2, 3, timeout=500.0)
    harness.progress(1)
    await asyncio.sleep(20.5)
    harness.dispatcher.cancel(3)
    await asyncio.sleep(20)
    harness.progress(2)
    await asyncio.sleep(20)
    [minute] = harness.dispatcher.history.all()[:1]
    assert harness.engine.running == [1, 2, 3]
    assert (minute.queued, minute.running) == pytest.approx((1.0, 4 / 3), abs=0.05)


async def test_the_minute_under_way_is_shown_too_and_only_the_last_hour_is_kept(harness, minutes):
    await asyncio.sleep(90.5)
    assert [round(minute.seconds) for minute in minutes()] == [60, 30]
    await asyncio.sleep(2 * 3600)
    assert len(minutes()) == 60
    assert minutes()[0].ended_at <= minutes()[-1].ended_at


async def test_refusals_are_counted_in_their_minute(virtual_time):
    harness = Harness(max_queue=1)
    harness.dispatcher.watch(harness.dispatcher.history.watch())
    harness.submit(1, 2, 3, timeout=500.0)
    await asyncio.sleep(60.5)
    harness.submit(4, timeout=500.0)
    await asyncio.sleep(60)
    assert [minute.refused for minute in harness.dispatcher.history.all()[:2]] == [2, 1]


async def test_a_device_is_busy_for_its_share_also_when_its_engine_is_replaced(harness, minutes):
    harness.engine.usage.total = DeviceUsage(busy=100.0)
    await asyncio.sleep(60.5)
    harness.engine.usage.total = DeviceUsage(busy=112.0)
    await asyncio.sleep(20)
    harness.engine.usage.total = DeviceUsage(busy=6.0)
    await asyncio.sleep(40)
    [share] = minutes()[1].devices
    assert (share.name, share.busy) == ("card0", pytest.approx(0.3))
