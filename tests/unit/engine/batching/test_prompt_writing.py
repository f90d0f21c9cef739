"""Prompts are written between the forwards of others, and the image is generated from what was written."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from imageserver.engine.language.prompt_writer import PromptWriter
from imageserver.enhancement.enhancement import UNAVAILABLE, Enhancement
from imageserver.generation import Generation
from imageserver.protocol.messages import Finished, Run, Started
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, difference

TOKENS = 8


class ScriptedModel:
    """Writes that a prompt is better, in `TOKENS` tokens, and remembers what it was told."""

    def __init__(self, token: Callable[[], None] = lambda: None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.token = token
        self.written = 0

    def write(self, instructions: str, text: str, most: int, pause: Callable[[], None]) -> str:
        self.asked.append((instructions, text))
        for _ in range(TOKENS):
            self.token()
            self.written += 1
            pause()
        return f'"a better {text}"'


def enhanced(prompt: str, suffix: str = "", **fields: Any) -> Generation:
    return generation(prompt + suffix, enhancement=Enhancement(prompt=prompt, suffix=suffix), **fields)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def writing(engine: TinyEngine, model: ScriptedModel) -> TinyEngine:
    """An engine over the shared pipeline whose prompts the scripted model writes."""
    return TinyEngine(engine.pipeline, prompt_writer=PromptWriter(model, max_chars=1000))


def outcome_of(engine: TinyEngine, job: int = 0) -> Any:
    [(finished, _)] = engine.of(Finished, job)
    return finished.outcome


def test_an_image_is_that_of_the_better_prompt(writing: TinyEngine, model: ScriptedModel) -> None:
    [image] = writing.generate(enhanced("fox", ", 4K", true_cfg_scale=1.0))
    assert (image == writing.plain(generation("a better fox, 4K", true_cfg_scale=1.0))).all()
    assert outcome_of(writing).revised_prompt == "a better fox"
    assert outcome_of(writing).warnings == ()
    [(instructions, text)] = model.asked
    assert text == "fox"
    assert "image generator" in instructions


def test_an_image_beside_it_waits_for_one_token_a_forward_and_stays_the_same(
    writing: TinyEngine, model: ScriptedModel, monkeypatch: Any
) -> None:
    monkeypatch.setattr("imageserver.engine.batching.writing_share.SHARE", 0.0)
    tokens_at_forward: list[int] = []
    writing.before_forward = lambda: tokens_at_forward.append(model.written)
    beside = generation(steps=6, true_cfg_scale=1.0, seed=3)
    image, _ = writing.generate(beside, enhanced("fox", true_cfg_scale=1.0))
    assert tokens_at_forward[:6] == [0, 1, 2, 3, 4, 5] or tokens_at_forward[:6] == [1, 2, 3, 4, 5, 6]
    assert difference(image, writing.plain(beside)) <= 1


def test_beside_images_it_takes_at_most_half_as_long_as_their_forwards(engine: TinyEngine, monkeypatch: Any) -> None:
    now = 0.0

    def token() -> None:
        nonlocal now
        now += 0.01

    def forward() -> None:
        nonlocal now
        tokens_at_forward.append(model.written)
        now += 0.1

    model, tokens_at_forward = ScriptedModel(token), list[int]()
    writing = TinyEngine(engine.pipeline, prompt_writer=PromptWriter(model, max_chars=1000))
    writing.before_forward = forward
    for module in ("batching.step_scheduler", "batching.writing_share"):
        monkeypatch.setattr(f"imageserver.engine.{module}.time.monotonic", lambda: now)
    writing.generate(generation(steps=3, true_cfg_scale=1.0), enhanced("fox", true_cfg_scale=1.0))
    # One before the first forward, whose time is not known; five of 0.01 s are half of 0.1 s.
    assert tokens_at_forward[1] - tokens_at_forward[0] == 5


def test_one_that_is_cancelled_while_its_prompt_is_written_ends_at_the_next_token(
    writing: TinyEngine, model: ScriptedModel
) -> None:
    writing.add(1, enhanced("fox"))
    writing.step(3)
    assert len(writing.of(Started, 1)) == 1
    writing.scheduler.cancel(1)
    assert not writing.scheduler.busy
    assert writing.result(1).code == "cancelled"
    assert model.written == 3
    assert writing.batches == []


def test_one_that_is_cancelled_before_its_prompt_is_begun_asks_no_model(
    writing: TinyEngine, model: ScriptedModel
) -> None:
    writing.add(1, enhanced("fox"))
    writing.scheduler.cancel(1)
    assert model.asked == []


def test_a_prompt_is_written_once_for_all_images_and_for_the_next_request(
    writing: TinyEngine, model: ScriptedModel
) -> None:
    writing.generate(enhanced("fox", count=3), enhanced("fox", seed=9))
    writing.generate(enhanced("fox", seed=10))
    assert len(model.asked) == 1
    assert outcome_of(writing).revised_prompt == "a better fox"
    writing.scheduler.add(Run(job=1, generation=enhanced("fox"), credential="another client"))
    writing.run()
    assert len(model.asked) == 2


def test_its_tokens_count_as_the_jobs_device_time(engine: TinyEngine) -> None:
    writing = TinyEngine(
        engine.pipeline, prompt_writer=PromptWriter(ScriptedModel(lambda: time.sleep(0.02)), max_chars=1000)
    )
    writing.generate(enhanced("fox", steps=1))
    assert outcome_of(writing).device_time > outcome_of(writing).writing_time >= TOKENS * 0.02
    assert writing.scheduler.usage().busy >= TOKENS * 0.02


def test_where_the_model_fails_the_image_is_that_of_the_plain_prompt_with_a_warning(engine: TinyEngine) -> None:
    def fail() -> None:
        raise RuntimeError("secret words")

    writing = TinyEngine(engine.pipeline, prompt_writer=PromptWriter(ScriptedModel(fail), max_chars=1000))
    [image] = writing.generate(enhanced("fox", ", 4K", true_cfg_scale=1.0))
    assert (image == writing.plain(generation("fox, 4K", true_cfg_scale=1.0))).all()
    outcome = outcome_of(writing)
    assert outcome.revised_prompt == ""
    assert outcome.warnings == ("enhance failed, so the image was generated from the prompt as it is: RuntimeError.",)


def test_a_better_prompt_that_is_longer_than_prompts_may_be_is_not_used(
    engine: TinyEngine, model: ScriptedModel
) -> None:
    writing = TinyEngine(engine.pipeline, prompt_writer=PromptWriter(model, max_chars=11))
    writing.generate(enhanced("fox", steps=1))
    assert outcome_of(writing).revised_prompt == ""
    assert "12 characters, more than MAX_PROMPT_CHARS" in outcome_of(writing).warnings[0]


def test_a_model_without_a_language_model_warns(engine: TinyEngine) -> None:
    [image] = engine.generate(enhanced("fox", true_cfg_scale=1.0))
    assert (image == engine.plain(generation("fox", true_cfg_scale=1.0))).all()
    assert outcome_of(engine).warnings == (UNAVAILABLE,)


def test_a_prompt_that_was_written_elsewhere_is_used_as_it_is(engine: TinyEngine) -> None:
    wanted = Enhancement(prompt="fox", suffix=", 4K", revised="an owl")
    [image] = engine.generate(generation("fox, 4K", true_cfg_scale=1.0, enhancement=wanted))
    assert (image == engine.plain(generation("an owl, 4K", true_cfg_scale=1.0))).all()
    assert outcome_of(engine).revised_prompt == "an owl"
