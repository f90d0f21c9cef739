"""What the scheduler gives to families that say nothing about merging."""

import pytest
from diffusers import QwenImagePipeline

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import QwenImage
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Progress, Run
from tests.support.factories import generation
from tests.unit.engine.conftest import plain_pipe


@pytest.fixture
def sent() -> list[tuple[Message, bytes]]:
    """Every message of the engine."""
    return []


def run(turns: StepScheduler, *jobs: Generation) -> None:
    for number, wanted in enumerate(jobs, 1):
        turns.add(Run(job=number, generation=wanted))
    while turns.busy:
        turns.step()


def pixels_of(sent: list[tuple[Message, bytes]], job: int) -> bytes:
    [raw] = [raw for message, raw in sent if isinstance(message, Finished) and message.job == job]
    return raw


def test_without_a_merger_jobs_still_overtake_report_and_can_be_cancelled(
    pipeline: QwenImagePipeline, gate: Gate, sent: list[tuple[Message, bytes]]
) -> None:
    turns = StepScheduler(
        {"": ServedModel(PipelineRunner(pipeline, QwenImage()), gate.forward)}, lambda *frame: sent.append(frame)
    )
    long, short, gone = generation(steps=30), generation(steps=2, seed=9), generation(steps=30, seed=4)
    turns.add(Run(job=1, generation=long))
    for _ in range(5):
        turns.step()
    turns.add(Run(job=2, generation=short))
    turns.add(Run(job=3, generation=gone))
    turns.step()
    turns.cancel(3)
    while turns.busy:
        turns.step()
    ends = [message.job for message, _ in sent if isinstance(message, Finished)]
    assert ends == [2, 1]
    assert [message.code for message, _ in sent if isinstance(message, Failed)] == ["cancelled"]
    assert sum(isinstance(message, Progress) and message.job == 1 for message, _ in sent) == 30
    assert pixels_of(sent, 1) == plain_pipe(pipeline, long)
    assert pixels_of(sent, 2) == plain_pipe(pipeline, short)


def test_offloading_that_hooks_itself_in_anew_after_every_call_leaves_the_next_job_suspendable(
    pipeline: QwenImagePipeline, gate: Gate, sent: list[tuple[Message, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = 0

    def hook_in_anew(self: QwenImagePipeline) -> None:
        nonlocal freed
        freed += 1
        transformer = self.transformer
        monkeypatch.setattr(transformer, "forward", type(transformer).forward.__get__(transformer))

    monkeypatch.setattr(QwenImagePipeline, "maybe_free_model_hooks", hook_in_anew)
    runner = PipelineRunner(pipeline, QwenImage(), gate.install)
    turns = StepScheduler({"": ServedModel(runner, gate.forward)}, lambda *frame: sent.append(frame))
    run(turns, generation())
    turns.add(Run(job=2, generation=generation(steps=9)))
    for _ in range(3):
        turns.step()
    turns.cancel(2)
    assert [message.code for message, _ in sent if isinstance(message, Failed)] == ["cancelled"]
    assert freed == 2
    turns.add(Run(job=3, generation=generation()))
    while turns.busy:
        turns.step()
    assert pixels_of(sent, 3) == pixels_of(sent, 1)


def test_a_hook_that_hooks_itself_out_in_a_call_leaves_the_next_call_suspendable(
    pipeline: QwenImagePipeline, gate: Gate, sent: list[tuple[Message, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As diffusers' lazy prefetching does on CUDA in the first forward of group offloading."""
    transformer = pipeline.transformer
    stock = gate.forward

    def forward_once(**arguments: object) -> object:
        monkeypatch.setattr(transformer, "forward", type(transformer).forward.__get__(transformer))
        return type(transformer).forward(transformer, **arguments)

    monkeypatch.setattr(gate, "_stock", forward_once)
    turns = StepScheduler(
        {"": ServedModel(PipelineRunner(pipeline, QwenImage()), stock)}, lambda *frame: sent.append(frame)
    )
    turns.add(Run(job=1, generation=generation(steps=9)))
    for _ in range(3):
        turns.step()
    turns.cancel(1)
    assert [message.code for message, _ in sent if isinstance(message, Failed)] == ["cancelled"]
