"""The names of noise schedulers: AUTOMATIC1111's, such as `DPM++ 2M Karras`, and the classes of diffusers."""

import re
from collections.abc import Mapping

# What AUTOMATIC1111's users append to a sampler: how the noise decreases.
SCHEDULES = ("Karras", "Exponential")
# These call the denoiser twice a step.
SECOND_ORDER = ("Heun", "DPM2", "DPM2 a")
# The paper's spelling, such as DPMSolver++, of what AUTOMATIC1111's users call DPM++ 2M.
# A text of 32 MiB that a client sends as a name would take 0.3 s to compare.
MAX_NAME_CHARACTERS = 200
SPELLING = re.compile(r"dpmsolver\+\+( 2m)?(?= |$)")


def find_scheduler(asked: str, known: Mapping[str, str], own: str) -> str | None:
    """Return the name among `known` that `asked` means; empty for the model's `own`, None where nothing fits.

    `known` gives the class of diffusers by name. A class's name means the model's own noise scheduler where it is of
    that class, else the class without a special schedule; a schedule may follow either.
    """
    if len(asked) > MAX_NAME_CHARACTERS:
        return None
    wanted = SPELLING.sub("dpm++ 2m", " ".join(asked.split()).casefold())
    names = {name.casefold(): name for name in known}
    for name, class_name in sorted(known.items(), key=lambda item: item[0] != own):
        names.setdefault(class_name.casefold(), name)
        names.setdefault(f"{class_name} {split_name(name)[1]}".casefold(), name)
    found = names.get(wanted)
    return "" if found == own or not wanted else found


def split_name(name: str) -> tuple[str, str]:
    """Return a name without its schedule, and the schedule, empty where there is none."""
    for schedule in SCHEDULES:
        if name.endswith(f" {schedule}"):
            return name.removesuffix(f" {schedule}"), schedule
    return name, ""


def calls_factor(name: str) -> int:
    """Return how often a noise scheduler calls the denoiser where a plain one calls it once."""
    return 2 if split_name(name)[0] in SECOND_ORDER else 1
