"""The second call of a step with guidance shares the first one's forward, and a wrong guess costs only its row."""

import copy
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine.batching import step_scheduler
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families.flow import FlowMerger
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.pipelines.texts.encoded_texts import recorded_texts
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.runner.pipeline_runner import OnStep
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Run
from tests.support.factories import generation

STEPS = 8
# Calls of the denoiser in which the texts of one pipeline meet it.
Texts = Callable[[int], torch.Tensor]


class TextDenoiser(torch.nn.Module):
    """Adds the first number of its text to every row."""

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        return (hidden_states + encoder_hidden_states[:, :1, :1],)


class FakePipeline:
    """Steps with guidance as diffusers' flow pipelines do; `negative` gives the second text of a step."""

    def __init__(self, denoiser: TextDenoiser, negative: Texts, change_latents: bool = False) -> None:
        self.denoiser = denoiser
        self.negative = negative
        self.change_latents = change_latents

    def encode_prompt(self, text: torch.Tensor) -> tuple[torch.Tensor]:
        return (text,)

    def __call__(self, generation: Generation, on_step: OnStep) -> torch.Tensor:
        prompt, negative = text(2.0), self.negative(0)
        self.encode_prompt(prompt)
        self.encode_prompt(negative)
        latents = torch.full((1, 2, 2), float(generation.seed))
        for step in range(generation.steps):
            timestep = torch.tensor([float(step)])
            first = self.denoiser.forward(hidden_states=latents, timestep=timestep, encoder_hidden_states=prompt)[0]
            if self.change_latents:
                latents += 0.5
            if generation.true_cfg_scale > 1:
                second = self.denoiser.forward(
                    hidden_states=latents, timestep=timestep.clone(), encoder_hidden_states=self.negative(step)
                )[0]
                first = first + generation.true_cfg_scale * (first - second)
            latents = first
            on_step(lambda: None)  # type: ignore[arg-type, return-value]
        return latents


class FakePipelineRunner:
    """Runs the fake pipeline; `told` says whether its texts are known before the first step."""

    def __init__(self, pipeline: FakePipeline, told: bool) -> None:
        self.pipeline = pipeline
        self.names = ("encoder_hidden_states",) if told else ()

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        own = copy.copy(self.pipeline)
        with recorded_texts(own, self.names):
            return own(generation, on_step)

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        return image.numpy().tobytes()

    def calls_per_step(self, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 else 1

    def token_usage(self, generation: Generation) -> TokenUsage:
        return TokenUsage(prompt_tokens=0, image_tokens=0)


class LookaheadEngine:
    """A step scheduler over the fake pipeline, and the rows of every forward."""

    def __init__(
        self, *, negative: Texts = lambda step: text(-1.0), told: bool = True, cap: int = 8,
        change_latents: bool = False,
    ) -> None:  # fmt: skip
        denoiser = TextDenoiser()
        self.gate = Gate(denoiser)
        self.rows: list[int] = []
        self.before_forward: Callable[[], None] = lambda: None
        self.sent: list[tuple[Message, bytes]] = []
        runner: Any = FakePipelineRunner(FakePipeline(denoiser, negative, change_latents), told)
        merger = FlowMerger(
            text="encoder_hidden_states",
            batched=dict.fromkeys(("hidden_states", "timestep", "encoder_hidden_states"), 0),
        )
        self.model = ServedModel(runner, self.forward, merger=merger, cap_of=lambda pixels: cap)
        self.scheduler = StepScheduler({"": self.model}, lambda *frame: self.sent.append(frame))

    def forward(self, **arguments: Any) -> Any:
        self.rows.append(len(arguments["hidden_states"]))
        self.before_forward()
        return self.gate.forward(**arguments)

    def add(self, *wanted: Generation) -> None:
        for job, one in enumerate(wanted):
            self.scheduler.add(Run(job=job, generation=one))

    def generate(self, *wanted: Generation) -> list[bytes]:
        """Generate at the same time; return the images by job, and only those of jobs that did not fail."""
        self.add(*wanted)
        while self.scheduler.busy:
            self.scheduler.step()
        ends = {message.job: raw for message, raw in self.sent if isinstance(message, Finished)}
        return [ends[job] for job in sorted(ends)]

    @property
    def score(self) -> tuple[int, int]:
        """Hits and misses."""
        usage = self.scheduler.usage()
        return usage.lookahead_hits, usage.lookahead_misses


def text(value: float) -> torch.Tensor:
    return torch.full((1, 4, 3), value)


def guided(**changes: Any) -> Generation:
    return generation(**({"steps": STEPS, "width": 2, "height": 2} | changes))


def expected(negative: Texts = lambda step: text(-1.0), **changes: Any) -> bytes:
    """Return what the same pipeline generates without look-ahead."""
    [image] = LookaheadEngine(negative=negative, cap=1).generate(guided(**changes))
    return image


def test_a_step_with_guidance_is_one_forward() -> None:
    engine = LookaheadEngine()
    assert engine.generate(guided()) == [expected()]
    assert engine.rows == [2] * STEPS
    assert engine.score == (STEPS, 0)
    assert (engine.scheduler.calls, engine.scheduler.forwards) == (2 * STEPS, STEPS)


def test_a_pipeline_that_tells_no_texts_is_learnt_from_its_first_step() -> None:
    engine = LookaheadEngine(told=False)
    assert engine.generate(guided()) == [expected()]
    assert engine.rows == [1, 1] + [2] * (STEPS - 1)
    assert engine.score == (STEPS - 1, 0)


@pytest.mark.parametrize("fields", [{"deterministic": True}, {"quality": "high"}])
def test_what_must_run_alone_is_not_foreseen(fields: dict[str, Any]) -> None:
    engine = LookaheadEngine()
    engine.model.tiers = AlwaysWhole(engine)  # type: ignore[assignment]
    assert engine.generate(guided(**fields)) == [expected()]
    assert engine.rows == [1] * (2 * STEPS)
    assert engine.score == (0, 0)


class AlwaysWhole:
    """Quality tiers that skip nothing."""

    def __init__(self, engine: LookaheadEngine) -> None:
        self.engine = engine

    def forward(self, job: int, name: str, generation: Generation, arguments: dict[str, Any]) -> Any:
        return self.engine.forward(**arguments)

    def forget(self, job: int) -> None:
        """Remember nothing."""


def test_where_two_calls_gain_nothing_and_without_guidance_nothing_is_foreseen() -> None:
    for engine, wanted in ((LookaheadEngine(cap=1), guided()), (LookaheadEngine(), guided(true_cfg_scale=1.0))):
        engine.generate(wanted)
        assert set(engine.rows) == {1}
        assert engine.score == (0, 0)


def test_a_text_that_changes_on_the_way_is_learnt_again() -> None:
    def negative(step: int) -> torch.Tensor:
        return text(-1.0 if step < 3 else -3.0)

    engine = LookaheadEngine(negative=negative)
    assert engine.generate(guided()) == [expected(negative)]
    assert engine.score == (6, 1)
    # The fourth step misses, the fifth is learnt from.
    assert engine.rows == [2] * 4 + [1, 1, 1] + [2] * 3


def test_after_two_wrong_guesses_an_image_is_left_alone() -> None:
    def negative(step: int) -> torch.Tensor:
        return text(-float(1 + step // 2))

    engine = LookaheadEngine(negative=negative)
    assert engine.generate(guided(steps=12)) == [expected(negative, steps=12)]
    # Right at first, wrong at the third step, learnt from the fourth, wrong at the fifth.
    assert engine.score == (2, 2)
    assert engine.rows == [2, 2, 2, 1, 1, 1, 2] + [1] * 15


def test_latents_that_are_written_to_between_the_calls_are_not_taken_for_the_same() -> None:
    engine = LookaheadEngine(change_latents=True)
    alone = LookaheadEngine(change_latents=True, cap=1)
    assert engine.generate(guided()) == alone.generate(guided())
    assert engine.score == (0, 2)


def test_a_forward_has_never_more_calls_than_its_limit() -> None:
    engine = LookaheadEngine(cap=3)
    images = engine.generate(guided(), guided(seed=9))
    assert images == [expected(), expected(seed=9)]
    # Both images' own calls and one guess; then the first's next with its guess, and the other's second call.
    assert engine.rows[:2] == [3, 3]
    assert max(engine.rows) == 3


def test_a_device_without_memory_for_two_fails_once_and_computes_no_guess_alone() -> None:
    engine = LookaheadEngine()

    def full() -> None:
        if engine.rows[-1] > 1:
            raise torch.OutOfMemoryError("full")

    engine.before_forward = full
    assert engine.generate(guided()) == [expected()]
    assert engine.rows == [2] + [1] * (2 * STEPS)


def test_a_guess_that_breaks_a_forward_harms_nobody_and_is_not_tried_a_third_time() -> None:
    engine = LookaheadEngine()

    def fail() -> None:
        if engine.rows[-1] > 1:
            raise RuntimeError("injected")

    engine.before_forward = fail
    assert engine.generate(guided()) == [expected()]
    assert engine.rows.count(2) == 2


def test_an_image_that_is_cancelled_beside_its_guess_leaves_the_others_as_they_are() -> None:
    engine = LookaheadEngine()
    engine.add(guided(), guided(seed=9))
    engine.scheduler.step()
    engine.scheduler.cancel(1)
    assert engine.generate() == [expected()]
    assert [message.code for message, _ in engine.sent if isinstance(message, Failed)] == ["cancelled"]
    assert engine.rows == [4] + [2] * (STEPS - 1)


def test_an_image_that_fails_between_its_calls_ends_alone() -> None:
    def failing(step: int) -> torch.Tensor:
        if step == 2:
            raise RuntimeError("injected")
        return text(-1.0)

    engine = LookaheadEngine(negative=failing)
    assert engine.generate(guided()) == []
    [failure] = [message for message, _ in engine.sent if isinstance(message, Failed)]
    assert failure.code == "generation_failed"
    assert not engine.scheduler.busy


def test_both_rows_are_charged_to_the_image_and_count_as_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    # Every forward, and all that follows each of its calls, takes a second.
    monkeypatch.setattr(step_scheduler, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    engine = LookaheadEngine()
    engine.generate(guided(), guided(true_cfg_scale=1.0))
    both = {message.job: message.outcome for message, _ in engine.sent if isinstance(message, Finished)}
    assert (both[0].batch_size, both[1].batch_size) == (2, 2), "two images in three rows"
    assert engine.rows == [3] * STEPS
    begun = 1
    assert both[0].device_time == pytest.approx(begun + STEPS * (2 / 3 + 2))
    assert both[1].device_time == pytest.approx(begun + STEPS * (1 / 3 + 1))


def test_an_image_with_guidance_claims_the_time_of_its_shared_forwards() -> None:
    engine = LookaheadEngine()
    engine.model.costs.observe(4, 1, 10.0)
    engine.model.costs.observe(4, 2, 12.0)
    engine.model.ending_costs.observe(4, 1, 0.0)
    engine.add(guided(), guided(true_cfg_scale=1.0), guided(deterministic=True))
    work = [job.claim().work / STEPS for job in engine.scheduler._jobs.values()]
    assert work == [12.0, 10.0, 20.0]


def test_more_padding_than_a_forward_of_its_own_costs_is_not_taken() -> None:
    def rows(second: float) -> list[int]:
        engine = PaddedEngine()
        engine.model.costs.observe(4, 1, 10.0)
        for _ in range(9):
            engine.model.costs.observe(4, 2, second)
        engine.generate(guided(steps=2))
        return engine.rows

    assert rows(12.0) == [2, 2], "half a call of padding costs 1 of 10"
    assert rows(18.0) == [1, 1, 1, 1], "and 4 where the second call costs 8"


def test_no_call_gives_way_to_a_guess_that_needs_more_padding_than_a_call() -> None:
    engine = PaddedEngine(cap=2)
    engine.generate(guided(), guided(seed=9))
    assert engine.score == (0, 0)


def test_where_a_mask_costs_more_than_two_gain_only_texts_of_one_length_share_a_forward() -> None:
    def rows(*wanted: Generation, mixes: bool) -> list[int]:
        engine = PaddedEngine()
        engine.model.mixes_lengths = lambda pixels: mixes
        engine.generate(*wanted)
        return engine.rows

    assert rows(guided(steps=2), mixes=True) == [2, 2]
    assert rows(guided(steps=2), mixes=False) == [1, 1, 1, 1]
    alike = [guided(steps=2, seed=seed, true_cfg_scale=1.0) for seed in (1, 9)]
    assert rows(*alike, mixes=False) == [2, 2]


class PaddedEngine(LookaheadEngine):
    """An engine whose merger pads texts of any length, and counts half of the second call as padding."""

    def __init__(self, cap: int = 8) -> None:
        super().__init__(cap=cap)
        merger: Any = self.model.merger
        merger.text_length = lambda call: 2 if call["encoder_hidden_states"][0, 0, 0] > 0 else 0
        merger.token_count = lambda call: 4
