"""Short jobs go first, nobody starves, and a busy credential does not take another's share."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from imageserver.generation import Priority
from imageserver.scheduling_policy import QUANTUM_SECONDS, Claim, ClaimOrder, SchedulingPolicy

PRIORITIES: list[Priority] = ["interactive", "normal", "background"]


def claim(owner: int, **changes: Any) -> Claim:
    fields: dict[str, Any] = {"credential": "", "priority": "normal", "arrived": 100.0, "work": 10.0, "remaining": 10.0}
    return Claim(owner=owner, **(fields | changes))


def first(order: SchedulingPolicy, *claims: Claim, now: float = 100.0) -> int:
    return order.sort(claims, now)[0].owner


def test_the_shortest_remaining_work_goes_first() -> None:
    assert first(SchedulingPolicy(), claim(1, remaining=9.0), claim(2, remaining=3.0)) == 2


def test_a_better_class_goes_first_however_short_the_others_are() -> None:
    assert first(SchedulingPolicy(), claim(1, remaining=0.1), claim(2, priority="interactive")) == 2


def test_whoever_is_past_due_goes_before_everybody_else() -> None:
    old = claim(1, arrived=0.0, priority="background", work=1.0)
    assert first(SchedulingPolicy(), old, claim(2, priority="interactive", remaining=0.1)) == 1


@given(
    some.lists(
        some.tuples(
            some.sampled_from(PRIORITIES),
            some.sampled_from([0.0, 50.0, 99.0, 100.0]),
            some.sampled_from([1.0, 10.0, 30.0]),
        ),
        max_size=12,
    ),
    some.sets(some.integers(0, 11)),
)
def test_claims_that_are_kept_in_order_are_served_as_if_they_were_sorted_each_time(
    kinds: list[tuple[Priority, float, float]], gone: set[int]
) -> None:
    claims = [
        claim(owner, priority=priority, arrived=arrived, work=work, remaining=work)
        for owner, (priority, arrived, work) in enumerate(kinds)
    ]
    order = ClaimOrder(claims[::2])
    for each in claims[1::2]:
        order.add(each)
    for owner in gone & set(range(len(claims))):
        order.remove(owner)
    for now in (0.0, 100.0, 139.9, 140.0, 1e9):
        assert list(order.at(now)) == SchedulingPolicy().sort([each for each in claims if each.owner not in gone], now)


def test_credentials_take_turns_by_device_seconds_not_by_requests() -> None:
    order, served = SchedulingPolicy(), {"ann": 0.0, "bob": 0.0}
    claims = [claim(1, credential="bob", remaining=50.0, arrived=1e9)]
    claims += [claim(number, credential="ann", remaining=1.0, arrived=1e9) for number in range(2, 12)]
    for _ in range(400):
        chosen = order.sort(claims, 0.0)[0]
        order.charge(chosen.credential, 0.1)
        served[chosen.credential] += 0.1
    assert served["bob"] == pytest.approx(served["ann"], abs=2 * QUANTUM_SECONDS)


@pytest.mark.parametrize(("one", "other"), [(0.5, 1.5), (1.0, 60.0), (0.1, 7.0)])
def test_shares_are_equal_whatever_one_turn_costs(one: float, other: float) -> None:
    order, served = SchedulingPolicy(), {"ann": 0.0, "bob": 0.0}
    cost = {"ann": one, "bob": other}
    claims = [claim(number, credential=name, arrived=1e9) for number, name in enumerate(cost)]
    for _ in range(3000):
        chosen = order.sort(claims, 0.0)[0].credential
        order.charge(chosen, cost[chosen])
        served[chosen] += cost[chosen]
    assert served["ann"] == pytest.approx(served["bob"], rel=0.1, abs=2 * max(cost.values()))


def test_a_flood_that_is_overdue_does_not_go_before_another_credentials_only_job() -> None:
    order, now = SchedulingPolicy(), 1000.0
    flood = [claim(number, credential="ann", arrived=0.0, work=1.0, remaining=1.0) for number in range(20)]
    late = claim(99, credential="bob", arrived=now, work=1.0, remaining=1.0)
    served = [played.owner for played in order.simulate([*flood, late], now)]
    assert served.index(99) <= 1


def test_claiming_a_better_class_takes_nothing_from_another_credential() -> None:
    order, served = SchedulingPolicy(), {"ann": 0.0, "bob": 0.0}
    claims = [claim(1, credential="ann", priority="interactive", arrived=1e9)]
    claims += [claim(2, credential="bob", priority="background", arrived=1e9)]
    for _ in range(400):
        chosen = order.sort(claims, 0.0)[0]
        order.charge(chosen.credential, 0.1)
        served[chosen.credential] += 0.1
    assert served["bob"] == pytest.approx(served["ann"], abs=2 * QUANTUM_SECONDS)


@dataclass
class WaitingJob:
    claim: Claim
    ended: float | None = None


job_plan = some.builds(
    WaitingJob,
    some.builds(
        Claim,
        owner=some.just(0),
        credential=some.just(""),
        priority=some.sampled_from(PRIORITIES),
        arrived=some.floats(0, 60),
        work=some.floats(0.1, 20),
        remaining=some.just(0.0),
    ),
)


@settings(max_examples=200, deadline=None)
@given(jobs=some.lists(job_plan, min_size=1, max_size=25))
def test_no_job_ends_after_its_due_moment_plus_the_work_that_was_due_before_it(jobs: list[WaitingJob]) -> None:
    turn, now, order = 0.5, 0.0, SchedulingPolicy()
    left = {}
    for owner, job in enumerate(jobs):
        job.claim = replace(job.claim, owner=owner, remaining=job.claim.work)
        left[owner] = job.claim.work
    while any(job.ended is None for job in jobs):
        ready = [
            replace(job.claim, remaining=left[owner])
            for owner, job in enumerate(jobs)
            if job.ended is None and job.claim.arrived <= now
        ]
        if not ready:
            now = min(job.claim.arrived for job in jobs if job.ended is None)
            continue
        chosen = order.sort(ready, now)[0]
        spent = min(turn, left[chosen.owner])
        now += spent
        order.charge(chosen.credential, spent)
        left[chosen.owner] -= spent
        if left[chosen.owner] <= 1e-9:
            jobs[chosen.owner].ended = now
    for job in jobs:
        ahead = sum(other.claim.work for other in jobs if other.claim.due <= job.claim.due)
        assert job.ended is not None
        assert job.ended <= job.claim.due + ahead + turn + 1e-6
