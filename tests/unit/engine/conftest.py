"""A tiny Qwen-Image pipeline behind a gate, and an engine that collects what it would send."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import QwenImage
from imageserver.engine.pipelines import single_frame_vae
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation
from imageserver.protocol.messages import Message, Run
from tests.support.tiny_models import tiny_qwen_image


@pytest.fixture(autouse=True)
def _process_wide_switches_are_put_back() -> Iterator[None]:
    """Loading a model replaces the VAE's arithmetic and ends gradients for the whole process."""
    single_frame_vae.uninstall()
    yield
    single_frame_vae.uninstall()
    torch.set_grad_enabled(True)


@pytest.fixture(scope="session")
def pipeline() -> QwenImagePipeline:
    """The tiny pipeline, shared; nothing may change it."""
    return tiny_qwen_image()


@pytest.fixture
def gate(pipeline: QwenImagePipeline) -> Iterator[Gate]:
    """The gate of the pipeline's transformer."""
    torch.set_grad_enabled(False)
    gate = Gate(pipeline.transformer)
    yield gate
    gate.remove()


class Bench:
    """Turns over the tiny pipeline, the batch size of every forward, and every message sent."""

    def __init__(self, pipeline: QwenImagePipeline, gate: Gate, cap: int) -> None:
        self.sent: list[tuple[Message, bytes]] = []
        self.batches: list[int] = []
        self.before_forward: Callable[[int], None] = lambda count: None
        self.released = 0
        self._gate = gate
        model = ServedModel(
            PipelineRunner(pipeline, QwenImage()), self.forward, merger=QwenImage.merger, cap_of=lambda pixels: cap
        )
        self.turns = StepScheduler(
            {"": model}, lambda message, raw: self.sent.append((message, raw)), release_memory=self.release
        )

    def release(self) -> None:
        """Count."""
        self.released += 1

    def forward(self, **arguments: Any) -> Any:
        """Count, then compute."""
        self.batches.append(arguments["hidden_states"].shape[0])
        self.before_forward(len(self.batches))
        return self._gate.forward(**arguments)

    def add(self, job: int, generation: Generation) -> None:
        """Give the turns a job."""
        self.turns.add(Run(job=job, generation=generation))

    def run(self) -> None:
        """Take turns until nothing is left."""
        while self.turns.busy:
            self.turns.step()

    def of(self, kind: type[Message], job: int) -> list[tuple[Any, bytes]]:
        """Return the messages of one kind about one job."""
        return [(message, raw) for message, raw in self.sent if isinstance(message, kind) and message.job == job]  # type: ignore[attr-defined]


@pytest.fixture
def make_bench(pipeline: QwenImagePipeline, gate: Gate) -> Callable[..., Bench]:
    """Build benches."""
    return lambda cap=8: Bench(pipeline, gate, cap)


def plain_pipe(pipeline: QwenImagePipeline, wanted: Generation) -> bytes:
    """Return the pixels that a plain call of the stock pipeline generates."""
    guided = wanted.true_cfg_scale > 1
    image = pipeline(
        prompt=wanted.prompt,
        negative_prompt=wanted.negative_prompt if guided else None,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.steps,
        true_cfg_scale=wanted.true_cfg_scale,
        max_sequence_length=1024,
        generator=torch.Generator("cpu").manual_seed(wanted.seed),
    ).images[0]
    return bytes(image.tobytes())
