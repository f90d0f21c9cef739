"""Device seconds are charged with the estimate, settled with the truth, and survive a restart."""

import asyncio
import dataclasses

import pytest

from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.dispatch.quotas.quotas import Quotas
from imageserver.dispatch.quotas.usage_store import UsageStore
from imageserver.errors import StorageFull
from imageserver.outputs.state import FILE
from imageserver.protocol.messages import AdmissionRequest, Failed, UsageRequest
from tests.support.dispatch_harness import Harness

HOURLY = ClientLimits(seconds_per_hour=10.0)
# 1000 s after a full hour, and 1000 + 3600 s after midnight.
NOW = 86400.0 * 20_000 + 4600.0


def quotas_of(harness):
    return harness.dispatcher.quotas


def used(harness, account="ann", period=1):
    return quotas_of(harness).count(UsageRequest(job=1, account=account)).quotas[period].used


def refusals(harness):
    return [message for message in harness.worker.messages if isinstance(message, Failed)]


def learn(harness):
    """Let the dispatcher learn that an image takes 2 s."""
    harness.submit(1)
    harness.finish(1)


async def test_a_generation_is_charged_as_expected_while_it_runs_and_as_measured_when_it_ends():
    harness = Harness()
    learn(harness)
    harness.submit(2, account="ann")
    assert used(harness) == pytest.approx(2.0, rel=0.2)
    harness.finish(2)
    assert (used(harness), used(harness, period=2), used(harness, "bob")) == (2.0, 2.0, 0.0)


async def test_an_empty_account_is_refused_with_the_seconds_until_the_hour_ends_and_others_are_not():
    harness = Harness()
    learn(harness)
    harness.submit(*range(2, 9), account="ann", limits=HOURLY)
    admitted = [job for job in range(2, 9) if harness.dispatcher.jobs.find(job)]
    assert 4 <= len(admitted) <= 5
    refused = refusals(harness)
    assert {failure.code for failure in refused} == {"quota_exceeded"}
    assert "of 10 device seconds per hour are used (QUOTA_SECONDS_PER_HOUR)" in refused[0].sentence
    assert 0 < (refused[0].retry_after or 0) <= 3600
    harness.submit(20, account="bob", limits=HOURLY)
    harness.submit(21, account="ann")
    assert harness.dispatcher.jobs.find(20)
    assert harness.dispatcher.jobs.find(21)


async def test_one_whose_quota_is_used_up_is_not_admitted_before_its_prompt_is_improved():
    harness = Harness()
    harness.submit(1, account="ann")
    harness.finish(1)
    limits = ClientLimits(seconds_per_hour=2.0)
    for job, account in ((2, "ann"), (3, "bob")):
        harness.dispatcher.request_admission(AdmissionRequest(job=job, account=account, limits=limits), harness.worker)
    assert [harness.worker.of(job) for job in (2, 3)] == [["quota_exceeded"], ["Admitted"]]


async def test_one_that_takes_more_than_the_whole_quota_is_not_told_to_wait():
    harness = Harness()
    learn(harness)
    harness.submit(2, account="ann", limits=ClientLimits(seconds_per_day=0.5))
    [refused] = refusals(harness)
    assert "more than the 0.5 per day" in refused.sentence
    assert refused.retry_after is None


async def test_before_anything_was_measured_a_guess_refuses_nobody():
    harness = Harness()
    harness.submit(1, account="ann", limits=ClientLimits(seconds_per_day=1e-9))
    assert harness.dispatcher.jobs.find(1)


async def test_a_joined_generation_costs_no_seconds_even_without_any_left():
    harness = Harness()
    learn(harness)
    harness.submit(2, account="ann", twin_key="same")
    harness.submit(3, account="bob", twin_key="same", limits=ClientLimits(seconds_per_hour=0.001))
    assert not refusals(harness)
    harness.finish(2)
    assert (used(harness), used(harness, "bob")) == (2.0, 0.0)


async def test_a_stopped_generation_costs_the_steps_that_were_made_and_a_waiting_one_nothing():
    harness = Harness()
    learn(harness)
    harness.submit(2, 3, account="ann")
    harness.progress(2)
    harness.dispatcher.cancel(3)
    harness.dispatcher.cancel(2)
    assert used(harness) == pytest.approx(0.5, rel=0.2)


async def test_an_engine_that_dies_charges_its_jobs_once():
    harness = Harness()
    learn(harness)
    harness.submit(2, account="ann")
    harness.progress(2)
    harness.lose_engine()
    harness.revive()
    harness.dispatcher.engine_changed()
    harness.finish(2)
    assert used(harness) == 2.0


class WallClock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@dataclasses.dataclass
class SomeJob:
    id: int = 1
    work: float = 3.0
    share_done: float = 1.0


def spend(quotas, seconds=3.0):
    quotas.charge(UsageRequest(job=1, account="ann", limits=NO_LIMITS), SomeJob(work=seconds), learnt=True)
    quotas.record_end(SomeJob(work=seconds), Failed(job=1, code="cancelled", sentence="Stopped."))


def seconds_of(quotas):
    hour, day = quotas.count(UsageRequest(job=1, account="ann")).quotas[1:]
    return hour.used, day.used


def with_quotas(folder, clock, act, pause=0.0):
    """Run `act` with the quotas of a dispatcher that starts, and stops after a pause."""

    async def run():
        quotas = Quotas(UsageStore(folder), clock)
        quotas.start()
        await asyncio.sleep(0.2)
        result = act(quotas)
        await asyncio.sleep(pause)
        await quotas.stop()
        return result

    return asyncio.run(run())


def test_what_was_used_survives_a_restart_until_its_hour_and_day_are_over(tmp_path):
    clock = WallClock()
    for _ in range(2):
        with_quotas(tmp_path, clock, spend)
    assert with_quotas(tmp_path, clock, seconds_of) == (6.0, 6.0)
    clock.now += 3600.0
    assert with_quotas(tmp_path, clock, seconds_of) == (0.0, 6.0)
    clock.now += 86400.0
    assert with_quotas(tmp_path, clock, seconds_of) == (0.0, 0.0)


def test_what_is_used_before_the_old_numbers_are_read_is_added_to_them(tmp_path):
    with_quotas(tmp_path, WallClock(), spend)

    async def run():
        quotas = Quotas(UsageStore(tmp_path), WallClock())
        spend(quotas)
        quotas.start()
        await quotas.stop()

    asyncio.run(run())
    assert with_quotas(tmp_path, WallClock(), seconds_of) == (6.0, 6.0)


def test_a_database_that_cannot_be_used_is_tried_again_and_nothing_is_lost(tmp_path, monkeypatch, caplog):
    save, failures = UsageStore.save, []

    def fail_once(store, rows, now):
        if not failures:
            failures.append(1)
            raise StorageFull("The disk is full.")
        save(store, rows, now)

    monkeypatch.setattr(UsageStore, "save", fail_once)
    monkeypatch.setattr("imageserver.dispatch.quotas.quotas.SAVE_INTERVAL_SECONDS", 0.01)
    with_quotas(tmp_path, WallClock(), spend, pause=0.2)
    assert with_quotas(tmp_path, WallClock(), seconds_of) == (3.0, 3.0)
    assert caplog.text.count("The disk is full.") == 1
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
