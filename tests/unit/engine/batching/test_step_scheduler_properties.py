"""Random arrivals, cancels and failures on a fake denoiser: every job ends once, in its time, with its own pixels."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.pipelines.suspension import Gate
from imageserver.generation import Generation, Priority
from imageserver.protocol.messages import Failed, Finished, Message, Progress, Run
from tests.support.fake_denoiser import NEGATIVE, POISON, FakeDenoiser, FakeMerger, FakeRunner

PRIORITIES: list[Priority] = ["interactive", "normal", "background"]


arrival = some.fixed_dictionaries(
    {
        "at": some.integers(0, 40),
        "steps": some.integers(1, 12),
        "width": some.sampled_from([1, 2, 3]),
        "seed": some.sampled_from([1, 2, 3, 5, int(POISON)]),
        "count": some.integers(1, 3),
        "priority": some.sampled_from(PRIORITIES),
        "credential": some.sampled_from(["", "ann", "bob"]),
        "deterministic": some.booleans(),
        "guidance": some.sampled_from([1.0, 2.0]),
        "cancel_after": some.none() | some.integers(0, 30),
    }
)


@settings(max_examples=150, deadline=None)
@given(arrivals=some.lists(arrival, min_size=1, max_size=12), cap=some.integers(1, 5))
def test_every_job_ends_exactly_once_with_its_own_pixels(arrivals: list[dict[str, Any]], cap: int) -> None:
    denoiser = FakeDenoiser()
    gate = Gate(denoiser)
    sent: list[tuple[Message, bytes]] = []
    model = ServedModel(FakeRunner(denoiser), gate.forward, merger=FakeMerger(), cap_of=lambda pixels: cap)
    scheduler = StepScheduler({"": model}, lambda message, raw: sent.append((message, raw)))
    turn, waiting = 0, dict(enumerate(arrivals))
    while waiting or scheduler.busy:
        for job, plan in list(waiting.items()):
            if plan["at"] <= turn:
                scheduler.add(Run(job=job, generation=_generation(plan), credential=plan["credential"]))
                del waiting[job]
        for job, plan in enumerate(arrivals):
            if plan["cancel_after"] is not None and turn == plan["at"] + plan["cancel_after"]:
                scheduler.cancel(job)
        if scheduler.busy:
            scheduler.step()
        turn += 1
        assert turn < 40 + sum(plan["steps"] * plan["count"] * 4 for plan in arrivals) + 40
    for job, plan in enumerate(arrivals):
        ends = [
            (message, raw) for message, raw in sent if isinstance(message, Finished | Failed) and message.job == job
        ]
        assert len(ends) == 1
        message, raw = ends[0]
        if isinstance(message, Finished):
            step = plan["seed"] + (int(NEGATIVE) if plan["guidance"] > 1 else 0)
            assert raw == bytes([step * plan["steps"] % 256]) * plan["width"] * plan["count"]
            steps = [step.step for step, _ in sent if isinstance(step, Progress) and step.job == job]
            assert steps == list(range(1, plan["steps"] * plan["count"] + 1))
        elif message.code == "cancelled":
            assert plan["cancel_after"] is not None
        else:
            assert plan["seed"] == POISON


def _generation(plan: dict[str, Any]) -> Generation:
    return Generation(
        prompt="", negative_prompt="", width=plan["width"], height=1, steps=plan["steps"],
        true_cfg_scale=plan["guidance"], seed=plan["seed"], count=plan["count"],
        deterministic=plan["deterministic"], priority=plan["priority"],
    )  # fmt: skip
