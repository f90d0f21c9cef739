"""A sampler and its schedule choose a noise scheduler that the model has, or give a warning."""

import pytest

from imageserver.api.dialects.automatic1111.samplers import SamplerChoice, choose
from imageserver.generation import ModelInfo
from tests.support.blocking import cpu_seconds, longest_block

FLOW = ModelInfo(name="flow", sampler="Euler", schedulers={"Euler": "FlowMatchEulerDiscreteScheduler"})
DIFFUSION = ModelInfo(
    name="diffusion",
    sampler="DPM++ 2M Karras",
    schedulers={
        "DPM++ 2M Karras": "DPMSolverMultistepScheduler", "DPM++ 2M": "DPMSolverMultistepScheduler",
        "Euler": "EulerDiscreteScheduler", "Euler Karras": "EulerDiscreteScheduler",
        "Euler a": "EulerAncestralDiscreteScheduler",
    },
)  # fmt: skip


def test_the_models_own_sampler_may_be_named_as_people_do():
    for name in ("Euler", "euler", "FlowMatchEulerDiscreteScheduler"):
        assert choose(name, "Automatic", FLOW) == SamplerChoice()
    refused = "sampler 'Euler a' is ignored: the model uses its own, Euler."
    assert choose("Euler a", "", FLOW) == SamplerChoice(warnings=(refused,))


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("DPM++ 2M", "Automatic", ""), ("DPM++ 2M Karras", "", ""), ("DPM++ 2M", "karras", ""),
        ("DPM++ 2M", "Uniform", "DPM++ 2M"), ("DPMSolverMultistepScheduler", "", ""),
        ("DPM++ 2M Karras", "Uniform", "DPM++ 2M"), ("Euler a", "Automatic", "Euler a"), ("euler A", "", "Euler a"),
        ("Euler", "Karras", "Euler Karras"), ("Euler", "", "Euler"), ("", "Uniform", "DPM++ 2M"), ("", "", ""),
    ],
)  # fmt: skip
def test_a_sampler_and_its_schedule_are_one_scheduler(sampler, schedule, scheduler):
    assert choose(sampler, schedule, DIFFUSION) == SamplerChoice(scheduler)


@pytest.mark.parametrize(
    ("sampler", "schedule", "choice"),
    [
        ("Euler a", "Karras", SamplerChoice("Euler a", ("scheduler 'Karras' is ignored with Euler a.",))),
        ("Euler", "Beta", SamplerChoice("Euler", ("scheduler 'Beta' is ignored with Euler.",))),
        (
            "Restart",
            "",
            SamplerChoice("", ("sampler 'Restart' is ignored: the model uses its own, DPM++ 2M Karras.",)),
        ),
    ],
)
def test_a_sampler_or_schedule_that_does_not_fit_is_a_warning(sampler, schedule, choice):
    assert choose(sampler, schedule, DIFFUSION) == choice


def test_while_the_model_loads_its_own_sampler_is_used_with_a_warning():
    assert choose("", "Automatic", None) == SamplerChoice()
    choice = choose("Euler a", "", None)
    assert choice.scheduler == ""
    assert "still loading" in choice.warnings[0]


def test_a_schedule_of_any_length_keeps_others_waiting_for_less_time_than_one_comparison_with_it_takes():
    schedule = "É" * 2_000_000
    choice = choose("Euler", schedule, DIFFUSION)
    assert (choice.scheduler, len(choice.warnings)) == ("Euler", 1)
    blocks = [longest_block(lambda: choose("Euler", schedule, DIFFUSION)) for _ in range(3)]
    assert min(blocks) < cpu_seconds(schedule.casefold) / 2
