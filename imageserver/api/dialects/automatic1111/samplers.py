"""Find the model's scheduler for a sampler and a schedule as AUTOMATIC1111 names them.

Source: stable-diffusion-webui 1.10, `modules/sd_samplers_kdiffusion.py` and `modules/sd_schedulers.py`.
"""

from dataclasses import dataclass

from imageserver.api.inputs.validation import shown
from imageserver.generation import ModelInfo
from imageserver.schedulers import MAX_NAME_CHARACTERS, SCHEDULES, find_scheduler, split_name

# The schedules of samplers for which `scheduler` is Automatic.
DEFAULT_SCHEDULES = {
    "DPM++ 2M": "Karras", "DPM++ 2M SDE": "Exponential", "DPM++ 2S a": "Karras", "DPM++ SDE": "Karras",
    "DPM2": "Karras", "DPM2 a": "Karras",
}  # fmt: skip
AUTOMATIC = ("", "automatic")
# Its name for the model's own schedule.
PLAIN = "uniform"


@dataclass(frozen=True)
class SamplerChoice:
    """The scheduler to use, empty for the model's own, and warnings."""

    scheduler: str = ""
    warnings: tuple[str, ...] = ()


def choose(sampler: str, schedule: str, info: ModelInfo | None) -> SamplerChoice:
    """Return the scheduler for a sampler and a schedule; one that does not fit the model gives a warning."""
    # 32 MiB took 0.05 s for every comparison.
    folded = schedule[:MAX_NAME_CHARACTERS].casefold()
    automatic = folded in AUTOMATIC
    if not sampler and automatic:
        return SamplerChoice()
    if info is None:
        return SamplerChoice(
            warnings=(f"sampler {shown(sampler or schedule)} is ignored: the model is still loading.",)
        )
    own = info.sampler
    known = info.schedulers
    name, named_schedule = _base(sampler, known, own)
    if name is None:
        return SamplerChoice(warnings=(f"sampler {shown(sampler)} is ignored: the model uses its own, {own}.",))
    if automatic:
        wanted = named_schedule or DEFAULT_SCHEDULES.get(name, "")
        found = find_scheduler(f"{name} {wanted}", known, own)
        return SamplerChoice(name if found is None else found)
    wanted = next((each for each in SCHEDULES if each.casefold() == folded), "")
    found = find_scheduler(f"{name} {wanted}", known, own)
    if found is not None and (wanted or folded == PLAIN):
        return SamplerChoice(found)
    return SamplerChoice(
        find_scheduler(name, known, own) or "", (f"scheduler {shown(schedule)} is ignored with {name}.",)
    )


def base_names(info: ModelInfo) -> dict[str, list[str]]:
    """Return the schedules of each sampler, the model's own sampler first; "" is the plain schedule."""
    own = info.sampler
    names: dict[str, list[str]] = {split_name(own)[0]: []}
    for name in info.schedulers:
        base, schedule = split_name(name)
        names.setdefault(base, []).append(schedule)
    return names


def _base(sampler: str, known: dict[str, str], own: str) -> tuple[str | None, str]:
    """Return a sampler's base name and its schedule; (None, "") for a sampler that does not fit the model."""
    found = find_scheduler(sampler, known, own)
    if found is None:
        return None, ""
    name, schedule = split_name(found or own)
    # The model's own scheduler includes its schedule under each of its names.
    return name, schedule
