"""Where a forward is full, images advance by whole steps one after the other, and nobody starves."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from imageserver.engine.batching import running_job, step_scheduler
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.pipelines import suspension
from imageserver.engine.pipelines.suspension import Gate
from imageserver.generation import Generation, Priority
from imageserver.protocol.messages import Finished, Message, Run
from imageserver.scheduling_policy import Claim
from tests.support.fake_denoiser import FakeDenoiser, FakeMerger, FakeRunner

PRIORITIES: list[Priority] = ["interactive", "normal", "background"]
PIXELS = 1


class OneSecondDevice:
    """A step scheduler in a time of its own, in which every forward takes a second, however many calls are in it."""

    def __init__(self, cap: int) -> None:
        self.now = 0.0
        self.ends: dict[int, float] = {}
        self.claims: dict[int, Claim] = {}
        denoiser = FakeDenoiser()
        self.gate = Gate(denoiser)
        model = ServedModel(FakeRunner(denoiser), self.forward, merger=FakeMerger(), cap_of=lambda pixels: cap)
        for batch in range(1, cap + 1):
            model.costs.observe(PIXELS, batch, 1.0)
        model.ending_costs.observe(PIXELS, 1, 0.0)
        self.scheduler = StepScheduler({"": model}, self.hear)

    def forward(self, **arguments: Any) -> Any:
        self.now += 1.0
        return self.gate.forward(**arguments)

    def hear(self, message: Message, _raw: bytes) -> None:
        if isinstance(message, Finished):
            self.ends[message.job] = self.now

    def serve(self, *plans: dict[str, Any]) -> list[float]:
        """Serve jobs that arrive when their plans say, and return when each ends."""
        waiting = sorted(range(len(plans)), key=lambda job: plans[job].get("at", 0))
        with pytest.MonkeyPatch.context() as patched:
            for module in (step_scheduler, running_job, suspension):
                patched.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
            while waiting or self.scheduler.busy:
                if not self.scheduler.busy:
                    self.now = max(self.now, plans[waiting[0]].get("at", 0))
                while waiting and plans[waiting[0]].get("at", 0) <= self.now:
                    self._add(waiting.pop(0), plans)
                self.scheduler.step()
        return [self.ends[job] for job in range(len(plans))]

    def _add(self, job: int, plans: tuple[dict[str, Any], ...]) -> None:
        fields = {name: value for name, value in plans[job].items() if name != "at"}
        asked = Generation(prompt="", negative_prompt="", width=PIXELS, height=1, seed=1, **fields)
        self.scheduler.add(Run(job=job, generation=asked, waited=self.now - plans[job].get("at", 0)))
        self.claims[job] = self.scheduler._jobs[job].claim()


def guided(steps: int, **fields: Any) -> dict[str, Any]:
    return {"steps": steps, "true_cfg_scale": 2.0, **fields}


def unguided(steps: int) -> dict[str, Any]:
    return {"steps": steps, "true_cfg_scale": 1.0}


def test_of_eight_images_that_fill_every_forward_four_end_in_half_the_time() -> None:
    ends = OneSecondDevice(cap=8).serve(*[guided(6)] * 8)
    assert ends == [6.0] * 4 + [12.0] * 4, "all ended after 12 forwards where calls went before guesses"


def test_a_shorter_job_that_is_ranked_later_keeps_its_place_in_the_forward() -> None:
    for cap in (2, 3, 4):
        long = [guided(20, priority="interactive")] * (cap - 1)
        ends = OneSecondDevice(cap=cap).serve(*long, unguided(3))
        assert ends[-1] == 3.0
        assert max(ends[:-1]) <= 40.0


def test_the_images_of_one_request_advance_together() -> None:
    engine = OneSecondDevice(cap=4)
    assert engine.serve(guided(6, count=4)) == [12.0]
    assert engine.scheduler.usage().lookahead_hits == 0


plan = some.fixed_dictionaries(
    {
        "at": some.integers(0, 30),
        "steps": some.integers(1, 12),
        "count": some.integers(1, 2),
        "priority": some.sampled_from(PRIORITIES),
        "deterministic": some.booleans(),
        "true_cfg_scale": some.sampled_from([1.0, 2.0]),
    }
)


@settings(max_examples=60, deadline=None)
@given(plans=some.lists(plan, min_size=1, max_size=15), cap=some.integers(1, 8))
def test_every_job_ends_within_the_bound_of_the_scheduling_policy(plans: list[dict[str, Any]], cap: int) -> None:
    device = OneSecondDevice(cap=cap)
    ends = device.serve(*plans)
    # A guess may give way to a shorter job's call, so a step with guidance counts two forwards.
    forwards = [one["steps"] * one["count"] * (2 if one["true_cfg_scale"] > 1 else 1) for one in plans]
    for job, end in enumerate(ends):
        due = device.claims[job].due
        ahead = sum(forwards[other] for other, claim in device.claims.items() if claim.due <= due)
        assert end <= due + ahead + 1
