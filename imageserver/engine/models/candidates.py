"""The models that MODEL=auto may choose on each kind of device, with the memory that must be free for them.

The limits are peaks that others have published, or calculated where there are none, and 2 to 6 % more; none was
measured with this server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from imageserver.generation import MemoryPlanName
from imageserver.registry import DEMO, ModelEntry
from imageserver.settings import Settings, shipped_registry

# Those that are known to generate in float16, for cards that do not compute in bfloat16.
FLOAT16_MODELS = ("sd-xl-base", "sd-1.5")
# The width of the texts that they read; a ControlNet was made for one.
TEXT_WIDTHS = {"qwen-image-2512": 3584, "qwen-image": 3584, "sd-xl-base": 2048, "sd-1.5": 768, DEMO: 192}


@dataclass(frozen=True)
class Candidate:
    """A model with a memory plan, and the GiB that must be free for it on the device and in RAM."""

    model: str
    free: float
    memory: MemoryPlanName = "full"
    ram: float = 0
    vae_tiling: bool = False
    is_downloaded: bool = True


# The best first. Z-Image-Turbo goes before Qwen-Image in 8 bits: 8 forwards for an image instead of 40 to 100.
OWN_MEMORY = (
    Candidate("qwen-image-2512", 62),
    # What earlier versions downloaded; 2512 is better and as large.
    Candidate("qwen-image", 60, is_downloaded=False),
    Candidate("z-image-turbo", 24),
    Candidate("z-image-turbo", 21, vae_tiling=True),
    Candidate("z-image-turbo", 13, "model-offload", ram=24),
    Candidate("z-image-turbo", 12, "int8", vae_tiling=True),
    Candidate("z-image-turbo", 8.3, "int8-offload", ram=13),
    Candidate("sd-xl-base", 11.2),
    Candidate("sd-xl-base", 6.3, "model-offload", ram=8),
    Candidate("sd-xl-base", 8, vae_tiling=True),
    Candidate("sd-1.5", 3.2),
)
# Where the memory is the machine's, offloading would only move weights within it.
SHARED_MEMORY = (
    Candidate("z-image-turbo", 24),
    Candidate("z-image-turbo", 21, vae_tiling=True),
    Candidate("sd-xl-base", 8, vae_tiling=True),
    Candidate("sd-1.5", 3.2),
)
LADDERS = {"cuda": OWN_MEMORY, "xpu": OWN_MEMORY, "npu": OWN_MEMORY, "mps": SHARED_MEMORY}
# What a CPU generates with where somebody names it: the smallest of them, with the memory for weights of 16 bits.
ON_CPU = Candidate("sd-1.5", 3.2)
# The plan of a ladder that needs no less than another one; what is not named here needs no more than full.
NEEDS_NO_MORE_THAN: Mapping[str, MemoryPlanName] = {
    "encoder-offload": "model-offload", "group-offload": "model-offload", "sequential-offload": "model-offload",
    "float8": "int8", "nf4": "int8",
}  # fmt: skip
# The slower line that MODEL=auto names beside Z-Image-Turbo.
ALTERNATIVES = (
    Candidate("qwen-image-2512", 37, "int8"),
    Candidate("qwen-image-2512", 31, "int8-offload", ram=35),
)
# What MODEL=auto names where nothing fits that it would choose.
SLOWER = (*ALTERNATIVES, Candidate("sd-1.5", 1.7, "sequential-offload", ram=2.5))


def ladder(kind: str, memory: MemoryPlanName | Literal["auto"]) -> Iterator[Candidate]:
    """Yield the candidates on a kind of device, the best first; with a plan that was asked for, those that hold it."""
    steps = LADDERS[kind]
    wanted = NEEDS_NO_MORE_THAN.get(memory, memory)
    with_it = {each.model for each in steps if each.memory == wanted}
    yield from (
        each for each in steps if memory == "auto" or each.memory == (wanted if each.model in with_it else "full")
    )


def candidates(kind: str) -> tuple[str, ...]:
    """Return the models that MODEL=auto may choose on a kind of device, the best first."""
    return tuple(dict.fromkeys(candidate.model for candidate in LADDERS.get(kind, ())))


def shipped_entry(model: str) -> ModelEntry | None:
    """Return a candidate's entry in the file that comes with the server; None for any other name."""
    return shipped_registry()[model] if any(model in candidates(kind) for kind in LADDERS) else None


def entry_of(model: str, settings: Settings) -> ModelEntry | None:
    """Return a candidate's entry, also where MODELS_FILE does not have its name; None for any other name."""
    shipped = shipped_entry(model)
    return shipped and settings.registry().get(model, shipped)
