"""Samplers and schedules as AUTOMATIC1111 names them, and the scheduler of the loaded model that each is.

Source: stable-diffusion-webui 1.10, `modules/sd_samplers_kdiffusion.py` and `modules/sd_schedulers.py`.
"""

from dataclasses import dataclass

from imageserver.api.inputs.validation import shown
from imageserver.generation import ModelInfo
from imageserver.schedulers import SCHEDULES, find_scheduler, split_name

# The schedule of a sampler whose client leaves the choice.
DEFAULT_SCHEDULES = {
    "DPM++ 2M": "Karras", "DPM++ 2M SDE": "Exponential", "DPM++ 2S a": "Karras", "DPM++ SDE": "Karras",
    "DPM2": "Karras", "DPM2 a": "Karras",
}  # fmt: skip
AUTOMATIC = ("", "automatic")
# What it calls the schedule that the model itself has.
PLAIN = "uniform"


@dataclass(frozen=True)
class SamplerChoice:
    """The scheduler to ask for, empty for the model's own, and what the client should know of it."""

    scheduler: str = ""
    warnings: tuple[str, ...] = ()


def choose(sampler: str, schedule: str, info: ModelInfo | None) -> SamplerChoice:
    """Return the scheduler of these names, or none and a warning if the model does not support it."""
    automatic = schedule.casefold() in AUTOMATIC
    if not sampler and automatic:
        return SamplerChoice()
    if info is None:
        return SamplerChoice(
            warnings=(f"sampler {shown(sampler or schedule)} is not used: the model is still being loaded.",)
        )
    own = info.sampler
    known = info.schedulers
    name, named_schedule = _base(sampler, known, own)
    if name is None:
        return SamplerChoice(warnings=(f"sampler {shown(sampler)} is not used: the model's own generates, {own}.",))
    if automatic:
        wanted = named_schedule or DEFAULT_SCHEDULES.get(name, "")
        found = find_scheduler(f"{name} {wanted}", known, own)
        return SamplerChoice(name if found is None else found)
    wanted = next((each for each in SCHEDULES if each.casefold() == schedule.casefold()), "")
    found = find_scheduler(f"{name} {wanted}", known, own)
    if found is not None and (wanted or schedule.casefold() == PLAIN):
        return SamplerChoice(found)
    return SamplerChoice(
        find_scheduler(name, known, own) or "", (f"scheduler {shown(schedule)} is not used with {name}.",)
    )


def base_names(info: ModelInfo) -> dict[str, list[str]]:
    """Return the schedules of each sampler, its own first; an empty one is the plain one."""
    own = info.sampler
    names: dict[str, list[str]] = {split_name(own)[0]: []}
    for name in info.schedulers:
        base, schedule = split_name(name)
        names.setdefault(base, []).append(schedule)
    return names


def _base(sampler: str, known: dict[str, str], own: str) -> tuple[str | None, str]:
    """Return the sampler's name without its schedule, and the schedule; None for a sampler that does not fit."""
    found = find_scheduler(sampler, known, own)
    if found is None:
        return None, ""
    name, schedule = split_name(found or own)
    # Of the model's own scheduler its schedule is a part, whichever of its names was used.
    return name, schedule
