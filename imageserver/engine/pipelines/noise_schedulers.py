"""The noise schedulers of diffusers that fit a family, by the names that AUTOMATIC1111's users know.

Source: the table in diffusers' documentation, "Schedulers", API overview (0.42). Left out are those that need another
library (LMS and Beta: scipy; DPM++ SDE of k-diffusion: torchsde) and those whose noise does not depend on the seed.
"""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers

from imageserver.errors import InvalidParameter
from imageserver.generation import Generation
from imageserver.schedulers import SCHEDULES, find_scheduler

# A noise scheduler of diffusers, which types none of its attributes.
NoiseScheduler = Any


@dataclass(frozen=True)
class NoiseSchedulerSpec:
    """A class of diffusers, its options beside the model's own configuration, and its limit of steps."""

    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None

    def make(self, stock: NoiseScheduler) -> NoiseScheduler:
        """Return a noise scheduler with those options of the model's own that its class supports."""
        kind = getattr(diffusers, self.class_name)
        known = inspect.signature(kind.__init__).parameters
        # Options of other classes would cause warnings in the log; options that nobody set keep each class's default.
        kept = {*known, "_use_default_values"}
        config = {name: value for name, value in stock.config.items() if name in kept}
        return kind.from_config(config, **self.options)

    def describes(self, scheduler: NoiseScheduler) -> bool:
        """Return whether a noise scheduler matches this spec."""
        same_class = type(scheduler).__name__ == self.class_name
        return same_class and all(scheduler.config.get(name) == value for name, value in self.options.items())


def _with_schedules(name: str, class_name: str, **options: Any) -> dict[str, NoiseSchedulerSpec]:
    """Return a spec for each schedule, which switches off the others that the model's own configuration may set."""
    flags = {schedule: f"use_{schedule.lower()}_sigmas" for schedule in SCHEDULES}
    plain = dict.fromkeys(flags.values(), False)
    specs = {name: NoiseSchedulerSpec(class_name, options | plain)}
    for schedule, flag in flags.items():
        specs[f"{name} {schedule}"] = NoiseSchedulerSpec(class_name, options | plain | {flag: True})
    return specs


DIFFUSION: Mapping[str, NoiseSchedulerSpec] = {
    **_with_schedules("DPM++ 2M", "DPMSolverMultistepScheduler", algorithm_type="dpmsolver++"),
    **_with_schedules("DPM++ 2M SDE", "DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++"),
    **_with_schedules("DPM++ 2S a", "DPMSolverSinglestepScheduler", algorithm_type="dpmsolver++"),
    **_with_schedules("DPM++ SDE", "DPMSolverSinglestepScheduler", algorithm_type="sde-dpmsolver++"),
    **_with_schedules("Euler", "EulerDiscreteScheduler"),
    "Euler a": NoiseSchedulerSpec("EulerAncestralDiscreteScheduler"),
    **_with_schedules("Heun", "HeunDiscreteScheduler"),
    **_with_schedules("DPM2", "KDPM2DiscreteScheduler"),
    **_with_schedules("DPM2 a", "KDPM2AncestralDiscreteScheduler"),
    **_with_schedules("UniPC", "UniPCMultistepScheduler"),
    **_with_schedules("DEIS", "DEISMultistepScheduler", algorithm_type="deis"),
    # Latents are not clipped, as Stable Diffusion's pipelines set it when they are constructed.
    "DDIM": NoiseSchedulerSpec("DDIMScheduler", {"clip_sample": False}),
    "PLMS": NoiseSchedulerSpec("PNDMScheduler", {"skip_prk_steps": True}),
    # Made for distilled models, which were trained on 50 steps.
    "LCM": NoiseSchedulerSpec("LCMScheduler", max_steps=50),
    "TCD": NoiseSchedulerSpec("TCDScheduler", max_steps=50),
}
# Flow models generate with Euler's method; diffusers' Heun does not accept the pipelines' own steps, its LCM and
# its stochastic Euler generate noise that does not depend on the seed.
FLOW: Mapping[str, NoiseSchedulerSpec] = _with_schedules("Euler", "FlowMatchEulerDiscreteScheduler")


class NoiseSchedulers:
    """The noise schedulers of a loaded model: its own, and those that fit its family."""

    def __init__(self, own: NoiseScheduler, specs: Mapping[str, NoiseSchedulerSpec]) -> None:
        self._specs = specs
        found = (name for name, spec in specs.items() if spec.describes(own))
        self.own = next(found, type(own).__name__)
        self.classes = {self.own: type(own).__name__} | {name: each.class_name for name, each in specs.items()}

    def for_generation(
        self, stock: NoiseScheduler, generation: Generation, config: Mapping[str, Any]
    ) -> NoiseScheduler:
        """Return a noise scheduler for one image alone; raises InvalidParameter for one that does not fit.

        Where the generation names none, `config` changes the model's own.
        """
        scheduler = self._chosen(stock, generation, config)
        if generation.steps < 2 and scheduler.config.get("shift_terminal"):
            # diffusers stretches the schedule between its first and its last step: with one step 0/0, a NaN image.
            raise InvalidParameter(
                f"num_inference_steps is {generation.steps}; this model's noise schedule needs at least 2.",
                param="num_inference_steps",
            )
        return scheduler

    def _chosen(self, stock: NoiseScheduler, generation: Generation, config: Mapping[str, Any]) -> NoiseScheduler:
        name = find_scheduler(generation.scheduler, self.classes, self.own)
        if name is None:
            # The API has refused it, except for requests that came before the model was known.
            raise InvalidParameter(
                f"scheduler {generation.scheduler!a} does not fit the model; known are {', '.join(self.classes)}.",
                param="scheduler",
            )
        if not name:
            return _changed(stock, config) if config else copy.deepcopy(stock)
        spec = self._specs[name]
        if spec.max_steps is not None and generation.steps > spec.max_steps:
            raise InvalidParameter(
                f"num_inference_steps is {generation.steps}; {name} does at most {spec.max_steps}.",
                param="num_inference_steps",
            )
        return spec.make(stock)


def _changed(stock: NoiseScheduler, config: Mapping[str, Any]) -> NoiseScheduler:
    """Return a model's own noise scheduler, changed by a LoRA's profile; raises InvalidParameter for a bad profile."""
    class_name = str(config.get("_class_name", type(stock).__name__))
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        if not class_name.endswith("Scheduler"):
            raise ValueError(f"{class_name} is not a scheduler")
        return NoiseSchedulerSpec(class_name, options).make(stock)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidParameter(f"loras: the profile's scheduler cannot be used: {error}.", param="loras") from error
