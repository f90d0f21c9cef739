"""Random arrivals, cancels and failures on a fake denoiser: every job ends once, in its time, with its own pixels."""

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.pipelines.encoded_texts import recorded_texts
from imageserver.engine.pipelines.previews import Thumbnail
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.pipelines.token_counts import TokenUsage
from imageserver.engine.runner.pipeline_runner import OnStep
from imageserver.generation import Generation, Priority
from imageserver.protocol.messages import Failed, Finished, Message, Progress, Run

PRIORITIES: list[Priority] = ["interactive", "normal", "background"]


class Denoiser(torch.nn.Module):
    """Adds the text of every image to its state; fails when it meets a poisoned one."""

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor]:
        if bool((text == POISON).any()):
            raise RuntimeError("poisoned")
        return (hidden_states + text,)


POISON = 13.0
NEGATIVE = 7.0
SEEN = Thumbnail(1, 1, bytes(3), 8)


class FakeMerger:
    """Merges everything of one size."""

    def shape_of(self, call: Mapping[str, Any]) -> Hashable:
        return tuple(call["hidden_states"].shape[1:])

    def batch_size(self, call: Mapping[str, Any]) -> int:
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Mapping[str, Any]) -> int:
        return 0

    def token_count(self, call: Mapping[str, Any]) -> int:
        return 1

    def merge(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {key: torch.cat([call[key] for call in calls]) for key in ("hidden_states", "timestep", "text")}


class FakeRunner:
    """Calls the denoiser once a step with the seed as its text, and with guidance a second time."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def encode_prompt(self, number: float) -> tuple[torch.Tensor]:
        return (torch.full((1, 1), number),)

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        own = copy.copy(self)
        with recorded_texts(own, ("text",)):
            texts = [own.encode_prompt(number)[0] for number in (float(generation.seed), NEGATIVE)]
        state = torch.zeros(1, generation.width)
        for step in range(generation.steps):
            results = [
                self.denoiser.forward(hidden_states=state, timestep=torch.full((1,), float(step)), text=text)[0]
                for text in texts[: self.calls_per_step(generation)]
            ]
            state = sum(results) - (len(results) - 1) * state
            on_step(lambda: SEEN)
        return state

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        return bytes(image.to(torch.uint8).flatten().tolist())

    def calls_per_step(self, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 else 1

    def token_usage(self, generation: Generation) -> TokenUsage:
        return TokenUsage(prompt_tokens=0, image_tokens=0)


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
    denoiser = Denoiser()
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
