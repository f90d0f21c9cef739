"""With every scheduler a family generates what the stock pipeline does: alone to the bit, merged nearly so."""

import diffusers
import numpy as np
import pytest

from imageserver.engine.pipelines.noise_schedulers import DIFFUSION, FLOW, NoiseSchedulers
from imageserver.errors import InvalidParameter
from imageserver.generation import Source
from imageserver.protocol.messages import Preview, Progress
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_alike

SOURCE = Source(strength=0.6, digest="x")


@pytest.fixture(scope="module")
def diffusion() -> TinyEngine:
    return TinyEngine(tiny_models.tiny_stable_diffusion())


@pytest.fixture(scope="module")
def flow() -> TinyEngine:
    return TinyEngine(tiny_models.tiny_qwen_image())


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
    assert (generated == diffusion.plain(wanted, scheduler=scheduler)).all()


@pytest.mark.parametrize("name", FLOW)
def test_flow_models_too(flow, name):
    schedule = name.removeprefix("Euler").strip().lower()
    options = {f"use_{schedule}_sigmas": True} if schedule else {}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(flow.pipeline.scheduler.config, **options)
    wanted = generation(scheduler=name, deterministic=True)
    [generated] = flow.generate(wanted)
    assert (generated == flow.plain(wanted, scheduler=scheduler)).all()


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", DIFFUSION)
def test_every_scheduler_generates_and_tells_of_every_step_once(diffusion, name, steps):
    [generated] = diffusion.generate(generation(scheduler=name, steps=steps, previews=1))
    assert isinstance(generated, np.ndarray), generated
    assert [message.step for message, _ in diffusion.of(Progress)] == [*range(1, steps + 1)]
    assert len(diffusion.of(Preview)) == (steps > 1)


@pytest.mark.parametrize("name", ["Heun", "Euler a", "DDIM", "DPM++ SDE", "PLMS", "LCM"])
def test_from_an_image_too(diffusion, name):
    wanted = generation(scheduler=name, steps=5, source=SOURCE)
    [generated] = diffusion.generate((wanted, bytes(range(256)) * 48))
    assert isinstance(generated, np.ndarray), generated
    assert len(diffusion.of(Progress)) == wanted.generated_steps == 3


def test_different_schedulers_share_forwards_and_generate_what_they_generate_alone(diffusion):
    names = ["", "Euler a", "DDIM", "Heun Karras"]
    wanted = [generation(scheduler=name, seed=seed) for seed, name in enumerate(names)]
    together = diffusion.generate(*wanted)
    assert max(diffusion.batches) == 2 * len(wanted)
    assert_alike(diffusion, wanted, together)


def test_schedulers_matter(diffusion):
    images = [
        diffusion.generate(generation(scheduler=name))[0] for name in ("", "DPM++ 2M", "Euler", "Euler a", "DDIM")
    ]
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_default_scheduler_of_stable_diffusion_is_dpm_solver_with_karras_sigmas(diffusion):
    schedulers = diffusion.runner.noise_schedulers
    assert schedulers.own == "DPM++ 2M Karras"
    assert next(iter(schedulers.classes)) == schedulers.own
    default, named = diffusion.generate(generation()), diffusion.generate(generation(scheduler="DPM++ 2M Karras"))
    assert (default[0] == named[0]).all()


@pytest.mark.parametrize("name", ["Euler a", "DDIM", "DPMSolverMultistepScheduler", "no such thing"])
def test_what_does_not_fit_a_flow_model_is_refused_with_what_does(flow, name):
    [failure] = flow.generate(generation(scheduler=name))
    assert (failure.code, failure.param) == ("invalid_parameter", "scheduler")
    assert failure.sentence.endswith("known are Euler, Euler Karras, Euler Exponential.")


def test_more_steps_than_a_distilled_models_scheduler_has_are_refused(diffusion):
    with pytest.raises(InvalidParameter, match="num_inference_steps is 51; LCM does at most 50"):
        diffusion.runner.noise_schedulers.for_generation(
            diffusion.pipeline.scheduler, generation(scheduler="LCM", steps=51), {}
        )


def test_a_scheduler_that_no_table_knows_keeps_the_name_of_its_class():
    own = diffusers.FlowMatchHeunDiscreteScheduler()
    schedulers = NoiseSchedulers(own, FLOW)
    assert schedulers.own == "FlowMatchHeunDiscreteScheduler"
    assert schedulers.for_generation(own, generation(scheduler=schedulers.own), {}) is not own
