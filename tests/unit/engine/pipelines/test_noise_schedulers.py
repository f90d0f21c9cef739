"""With every scheduler a family generates what the stock pipeline does: alone to the bit, merged nearly so."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import family_of
from imageserver.engine.pipelines.noise_schedulers import DIFFUSION, FLOW, NoiseSchedulers
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Failed, Finished, Message, Preview, Progress, Run
from tests.support import tiny_models
from tests.support.factories import generation

SOURCE = Source(strength=0.6, digest="x")


class Shop:
    """A tiny model behind a gate."""

    def __init__(self, pipeline: Any) -> None:
        torch.set_grad_enabled(False)
        self.pipeline = pipeline
        self.family = family_of(type(pipeline).__name__)
        self.family.customize(pipeline)
        self.gate = Gate(getattr(pipeline, self.family.denoiser))
        self.runner = PipelineRunner(pipeline, self.family)
        self.batches: list[int] = []
        self.sent: list[tuple[Message, bytes]] = []

    def generate(self, *wanted: Generation, source: bytes = b"") -> list[Any]:
        """Generate together; return each image, or the failure."""
        self.batches.clear()
        self.sent.clear()

        def forward(**arguments: Any) -> Any:
            self.batches.append(self.family.merger.batch_size(arguments))
            return self.gate.forward(**arguments)

        model = ServedModel(self.runner, forward, merger=self.family.merger, cap_of=lambda pixels: 8)
        turns = StepScheduler({"": model}, lambda *frame: self.sent.append(frame))
        for number, one in enumerate(wanted):
            turns.add(Run(job=number, generation=one), source if one.source else b"")
        while turns.busy:
            turns.step()
        ends = {message.job: (message, raw) for message, raw in self.sent if isinstance(message, Finished | Failed)}
        return [
            message if isinstance(message, Failed) else np.frombuffer(raw, np.uint8).reshape(64, 64, 3).astype(int)
            for message, raw in (ends[number] for number in range(len(wanted)))
        ]

    def generate_scheduler(self, wanted: Generation) -> Any:
        return self.runner.noise_schedulers.for_generation(self.pipeline.scheduler, wanted, {})

    def plain(self, wanted: Generation, scheduler: Any) -> np.ndarray:
        """Return what a plain call of diffusers generates with a scheduler."""
        pipeline = type(self.pipeline)(**self.pipeline.components | {"scheduler": scheduler}, **self.options)
        pipeline.set_progress_bar_config(disable=True)
        guidance = {self.family.guidance: wanted.true_cfg_scale}
        image = pipeline(
            prompt=wanted.prompt, negative_prompt=wanted.negative_prompt, width=64, height=64, **guidance,
            num_inference_steps=wanted.steps, generator=torch.Generator("cpu").manual_seed(wanted.seed),
        ).images[0]  # fmt: skip
        return np.asarray(image).astype(int)

    @property
    def options(self) -> dict[str, Any]:
        """What the pipeline's class is told beside its components."""
        return {"requires_safety_checker": False} if self.family.name == "stable-diffusion" else {}


@pytest.fixture(scope="module")
def diffusion() -> Shop:
    return Shop(tiny_models.tiny_stable_diffusion())


@pytest.fixture(scope="module")
def flow() -> Shop:
    return Shop(tiny_models.tiny_qwen_image())


PLAIN = {
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": False}),
    "DPM++ 2M SDE Karras": (
        "DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"}
    ),
    "Euler": ("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "Euler Exponential": ("EulerDiscreteScheduler", {"use_karras_sigmas": False, "use_exponential_sigmas": True}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {"use_karras_sigmas": False}),
    "DDIM": ("DDIMScheduler", {}),
    "UniPC Karras": ("UniPCMultistepScheduler", {"use_karras_sigmas": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_alone_it_is_bit_equal_to_the_stock_pipeline_with_that_scheduler(diffusion, name):
    class_name, options = PLAIN[name]
    wanted = generation(scheduler=name, negative_prompt="", deterministic=True)
    scheduler = getattr(diffusers, class_name).from_config(diffusion.pipeline.scheduler.config, **options)
    [generated] = diffusion.generate(wanted)
    assert (generated == diffusion.plain(wanted, scheduler)).all()


@pytest.mark.parametrize("name", FLOW)
def test_flow_models_too(flow, name):
    schedule = name.removeprefix("Euler").strip().lower()
    options = {f"use_{schedule}_sigmas": True} if schedule else {}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(flow.pipeline.scheduler.config, **options)
    wanted = generation(scheduler=name, deterministic=True)
    [generated] = flow.generate(wanted)
    assert (generated == flow.plain(wanted, scheduler)).all()


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", DIFFUSION)
def test_every_scheduler_generates_and_tells_of_every_step_once(diffusion, name, steps):
    [generated] = diffusion.generate(generation(scheduler=name, steps=steps, previews=1))
    assert isinstance(generated, np.ndarray), generated
    assert [message.step for message, _ in diffusion.sent if isinstance(message, Progress)] == [*range(1, steps + 1)]
    assert sum(isinstance(message, Preview) for message, _ in diffusion.sent) == (steps > 1)


@pytest.mark.parametrize("name", ["Heun", "Euler a", "DDIM", "DPM++ SDE", "PLMS", "LCM"])
def test_from_a_image_too(diffusion, name):
    wanted = generation(scheduler=name, steps=5, source=SOURCE)
    [generated] = diffusion.generate(wanted, source=bytes(range(256)) * 48)
    assert isinstance(generated, np.ndarray), generated
    assert sum(isinstance(message, Progress) for message, _ in diffusion.sent) == wanted.generated_steps == 3


def test_different_schedulers_share_forwards_and_generate_what_they_generate_alone(diffusion):
    names = ["", "Euler a", "DDIM", "Heun Karras"]
    wanted = [generation(scheduler=name, seed=seed) for seed, name in enumerate(names)]
    together = diffusion.generate(*wanted)
    assert max(diffusion.batches) == 2 * len(wanted)
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - diffusion.generate(one)[0]).max() <= 1


def test_schedulers_matter(diffusion):
    images = [
        diffusion.generate(generation(scheduler=name))[0] for name in ("", "DPM++ 2M", "Euler", "Euler a", "DDIM")
    ]
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_usual_scheduler_of_stable_diffusion_is_dpm_solver_with_karras_sigmas(diffusion):
    schedulers = diffusion.runner.noise_schedulers
    assert schedulers.own == "DPM++ 2M Karras"
    assert next(iter(schedulers.classes)) == schedulers.own
    usual, named = diffusion.generate(generation()), diffusion.generate(generation(scheduler="DPM++ 2M Karras"))
    assert (usual[0] == named[0]).all()


@pytest.mark.parametrize("name", ["Euler a", "DDIM", "DPMSolverMultistepScheduler", "no such thing"])
def test_what_does_not_fit_a_flow_model_is_refused_with_what_does(flow, name):
    [failure] = flow.generate(generation(scheduler=name))
    assert (failure.code, failure.param) == ("invalid_parameter", "scheduler")
    assert failure.sentence.endswith("known are Euler, Euler Karras, Euler Exponential.")


def test_more_steps_than_a_distilled_models_scheduler_has_are_refused(diffusion):
    with pytest.raises(InvalidParameter, match="num_inference_steps is 51; LCM does at most 50"):
        diffusion.generate_scheduler(generation(scheduler="LCM", steps=51))


def test_a_scheduler_that_no_table_knows_keeps_the_name_of_its_class():
    own = diffusers.FlowMatchHeunDiscreteScheduler()
    schedulers = NoiseSchedulers(own, FLOW)
    assert schedulers.own == "FlowMatchHeunDiscreteScheduler"
    assert schedulers.for_generation(own, generation(scheduler=schedulers.own), {}) is not own
