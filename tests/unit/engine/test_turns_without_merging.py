"""What the scheduler gives to families that say nothing about merging, and to pipelines of another kind."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline
from PIL import Image

from imageserver.engine.families import QwenImage
from imageserver.engine.painter import Painter, to_bytes
from imageserver.engine.suspension import Gate
from imageserver.engine.turns import Turns
from imageserver.generation import Generation
from imageserver.messages import Failed, Finished, Message, Progress, Run
from tests.factories import generation
from tests.unit.engine.conftest import plain_pipe

STRENGTH = 0.6


class TwoKindsOfPainter(Painter):
    """Draws from text, and from a picture where the prompt says so; both through one denoiser."""

    def __init__(self, pipeline: QwenImagePipeline) -> None:
        super().__init__(pipeline, QwenImage())
        self.image_pipeline = QwenImageImg2ImgPipeline(**pipeline.components)
        self.image_pipeline.set_progress_bar_config(disable=True)

    def draw(self, generation: Generation, index: int, on_step: Callable[[], None]) -> torch.Tensor:
        if not generation.prompt.startswith("from a picture"):
            return super().draw(generation, index, on_step)
        pipeline = copy.copy(self.image_pipeline)
        pipeline.scheduler = copy.deepcopy(self.image_pipeline.scheduler)
        return from_a_picture(pipeline, generation, on_step)


def from_a_picture(pipeline: Any, wanted: Generation, on_step: Callable[[], None]) -> torch.Tensor:
    def step_ended(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step()
        return tensors

    image: torch.Tensor = pipeline(
        prompt=wanted.prompt, negative_prompt=" ", image=Image.new("RGB", (64, 64), "teal"), strength=STRENGTH,
        width=64, height=64, num_inference_steps=wanted.steps, true_cfg_scale=wanted.true_cfg_scale, output_type="pt",
        generator=torch.Generator("cpu").manual_seed(wanted.seed), callback_on_step_end=step_ended,
    ).images[0]  # fmt: skip
    return image


@pytest.fixture
def sent() -> list[tuple[Message, bytes]]:
    """Every message of the engine."""
    return []


def run(turns: Turns, *jobs: Generation) -> None:
    for number, wanted in enumerate(jobs, 1):
        turns.add(Run(job=number, generation=wanted))
    while turns.busy:
        turns.take_one()


def pixels_of(sent: list[tuple[Message, bytes]], job: int) -> bytes:
    [raw] = [raw for message, raw in sent if isinstance(message, Finished) and message.job == job]
    return raw


def test_text_and_picture_to_picture_share_forwards_and_keep_their_pictures(
    pipeline: QwenImagePipeline, gate: Gate, sent: list[tuple[Message, bytes]]
) -> None:
    batches: list[int] = []

    def forward(**arguments: Any) -> Any:
        batches.append(arguments["hidden_states"].shape[0])
        return gate.forward(**arguments)

    painter = TwoKindsOfPainter(pipeline)
    turns = Turns(painter, forward, lambda *frame: sent.append(frame), merger=QwenImage.merger, cap_of=lambda pixels: 8)
    text, picture = generation("a red circle", steps=5), generation("from a picture", steps=5, seed=3)
    run(turns, text, picture)
    assert 2 in batches
    alone = to_bytes(from_a_picture(copy.deepcopy(painter.image_pipeline), picture, lambda: None)).numpy()
    drawn = np.frombuffer(pixels_of(sent, 2), np.uint8).astype(int)
    assert np.abs(drawn - alone.reshape(-1).astype(int)).max() <= 1
    plain = np.frombuffer(plain_pipe(pipeline, text), np.uint8).astype(int)
    assert np.abs(np.frombuffer(pixels_of(sent, 1), np.uint8).astype(int) - plain).max() <= 1


def test_without_a_merger_jobs_still_overtake_report_and_can_be_cancelled(
    pipeline: QwenImagePipeline, gate: Gate, sent: list[tuple[Message, bytes]]
) -> None:
    turns = Turns(Painter(pipeline, QwenImage()), gate.forward, lambda *frame: sent.append(frame))
    long, short, gone = generation(steps=30), generation(steps=2, seed=9), generation(steps=30, seed=4)
    turns.add(Run(job=1, generation=long))
    for _ in range(5):
        turns.take_one()
    turns.add(Run(job=2, generation=short))
    turns.add(Run(job=3, generation=gone))
    turns.take_one()
    turns.cancel(3)
    while turns.busy:
        turns.take_one()
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
    painter = Painter(pipeline, QwenImage(), gate.install)
    turns = Turns(painter, gate.forward, lambda *frame: sent.append(frame))
    run(turns, generation())
    turns.add(Run(job=2, generation=generation(steps=9)))
    for _ in range(3):
        turns.take_one()
    turns.cancel(2)
    assert [message.code for message, _ in sent if isinstance(message, Failed)] == ["cancelled"]
    assert freed == 2
    turns.add(Run(job=3, generation=generation()))
    while turns.busy:
        turns.take_one()
    assert pixels_of(sent, 3) == pixels_of(sent, 1)
