"""What the scheduler gives to families that say nothing about merging."""

from collections.abc import Iterator

import pytest
from diffusers import QwenImagePipeline

from imageserver.protocol.messages import Finished, Progress
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine


@pytest.fixture
def engine(pipeline: QwenImagePipeline) -> Iterator[TinyEngine]:
    engine = TinyEngine(pipeline, merging=False)
    yield engine
    engine.gate.remove()


def test_without_a_merger_jobs_still_overtake_report_and_can_be_cancelled(engine: TinyEngine) -> None:
    long, short, gone = generation(steps=30), generation(steps=2, seed=9), generation(steps=30, seed=4)
    engine.add(1, long)
    engine.step(5)
    engine.add(2, short)
    engine.add(3, gone)
    engine.step(1)
    engine.scheduler.cancel(3)
    engine.run()
    assert [message.job for message, _ in engine.sent if isinstance(message, Finished)] == [2, 1]
    assert engine.result(3).code == "cancelled"
    assert len(engine.of(Progress, 1)) == 30
    assert (engine.result(1) == engine.plain(long)).all()
    assert (engine.result(2) == engine.plain(short)).all()


def test_offloading_that_hooks_itself_in_again_after_every_call_leaves_the_next_job_suspendable(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = 0

    def hook_in_again(self: QwenImagePipeline) -> None:
        nonlocal freed
        freed += 1
        transformer = self.transformer
        monkeypatch.setattr(transformer, "forward", type(transformer).forward.__get__(transformer))

    monkeypatch.setattr(QwenImagePipeline, "_all_hooks", ["of the transformer"], raising=False)
    monkeypatch.setattr(QwenImagePipeline, "maybe_free_model_hooks", hook_in_again)
    [before] = engine.generate(generation())
    engine.add(2, generation(steps=9))
    engine.step(3)
    engine.scheduler.cancel(2)
    assert engine.result(2).code == "cancelled"
    assert freed == 2
    [after] = engine.generate(generation())
    assert (after == before).all()


def test_a_hook_that_hooks_itself_out_in_a_call_leaves_the_next_call_suspendable(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As diffusers' lazy prefetching does on CUDA in the first forward of group offloading."""
    transformer = engine.denoiser

    def hook_out() -> None:
        monkeypatch.setattr(transformer, "forward", type(transformer).forward.__get__(transformer))

    engine.before_forward = hook_out
    engine.add(1, generation(steps=9))
    engine.step(3)
    engine.scheduler.cancel(1)
    assert engine.result(1).code == "cancelled"
