"""What MODEL=auto means on a machine: the best model with an open licence that its free memory holds.

It only calculates, so `doctor` may ask it too. The limits are peaks that others have published, or calculated where
there are none, and 2 to 6 % more; none was measured with this server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from imageserver.generation import MemoryPlanName
from imageserver.registry import ModelEntry
from imageserver.settings import Settings, shipped_registry

DEMO = "demo"
# Of what a download takes, a tenth must remain free.
DISK_RESERVE = 1.1
# Those that are known to generate in float16, for cards that do not compute in bfloat16.
FLOAT16_MODELS = ("sd-xl-base", "sd-1.5")


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: free memory of the device and RAM in GiB, free disk in GB.

    `on_disk` are the candidates that need no download, `stored` the GB that the disk has of each, unfinished ones
    included; `has_torchao` allows weights of 8 bits.
    """

    kind: str
    device: str
    free: float
    ram: float
    disk: float
    bfloat16: bool = True
    has_torchao: bool = False
    on_disk: frozenset[str] = frozenset()
    stored: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A model with a memory plan, and the GiB that must be free for it on the device and in RAM."""

    model: str
    free: float
    memory: MemoryPlanName = "full"
    ram: float = 0
    vae_tiling: bool = False
    is_downloaded: bool = True


@dataclass(frozen=True)
class ModelChoice:
    """A model and its memory plan; `download_gb` is 0 where its files are on the disk."""

    model: str
    reason: str
    memory: MemoryPlanName | Literal["auto"] = "auto"
    vae_tiling: bool = False
    download_gb: float = 0


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
# The slower line that MODEL=auto names beside Z-Image-Turbo.
ALTERNATIVES = (
    Candidate("qwen-image-2512", 37, "int8"),
    Candidate("qwen-image-2512", 31, "int8-offload", ram=35),
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


def choose(machine: Machine, settings: Settings, *, hub_failed: bool = False) -> ModelChoice:
    """Return the choice, within what the settings say about memory and number formats; raises RegistryUnusable.

    Where the hub has failed, it is one without a download.
    """
    return _Choosing(machine, settings).choice(hub_failed=hub_failed)


class _Choosing:
    """One choice: what fits the machine, and the sentences about it."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self._machine, self._settings = machine, settings
        self._order = candidates(machine.kind)
        entries = {name: entry_of(name, settings) for name in self._order}
        # An owner's file may have given a name to another model.
        self._entries = {
            name: entry for name, entry in entries.items() if entry and entry.commercial and not entry.gated
        }

    def choice(self, *, hub_failed: bool) -> ModelChoice:
        machine, settings = self._machine, self._settings
        if not self._order:
            return self._demo("the device is a CPU", "MODEL=sd-1.5 runs on it too, slowly")
        fitting = [candidate for candidate in self._allowed() if self._fits(candidate)]
        stored = next((each for each in fitting if each.model in machine.on_disk), None)
        best = next((each for each in fitting if each.is_downloaded and self._size(each) <= machine.disk), None)
        if stored is not None:
            return self._model(stored, "its files are on the disk")
        if not fitting:
            return self._demo(f"{self._memory()} are too little for any other model", "MODEL names one all the same")
        if settings.offline or hub_failed:
            names = " or ".join(dict.fromkeys(each.model for each in fitting))
            if hub_failed:
                return self._demo(f"{names} is not on the disk", "the next start tries the download again")
            return self._demo(f"OFFLINE=1 and {names} is not on the disk", "start once without OFFLINE")
        if best is None:
            needed = f"{self._size(fitting[-1]):.1f} GB for {fitting[-1].model}"
            return self._demo(
                f"{settings.models_dir} has {machine.disk:.1f} GB free, less than {needed}", "set MODELS_DIR"
            )
        entry = self._entries[best.model]
        origin = f"a download of {entry.download_gb or 0:.1f} GB, licence {entry.licence}"
        return self._model(best, origin, download_gb=entry.download_gb or 0)

    def _allowed(self) -> Iterable[Candidate]:
        """Return the candidates that the settings leave; where none has the plan of MEMORY, it goes before theirs."""
        settings, ladder = self._settings, LADDERS[self._machine.kind]
        named = [each for each in ladder if settings.memory in ("auto", each.memory)]
        float16 = settings.dtype == "float16" or (settings.dtype == "auto" and not self._machine.bfloat16)
        return [
            each
            for each in named or ladder
            if each.model in self._entries
            and not (each.vae_tiling and settings.vae_tiling is False)
            and (not float16 or each.model in FLOAT16_MODELS)
        ]

    def _fits(self, candidate: Candidate) -> bool:
        return self._has_memory_for(candidate) and (self._machine.has_torchao or "int8" not in candidate.memory)

    def _has_memory_for(self, candidate: Candidate) -> bool:
        machine, share = self._machine, 2 if self._settings.dtype == "float32" else 1
        return share * candidate.free <= machine.free and share * candidate.ram <= machine.ram

    def _size(self, candidate: Candidate) -> float:
        """Return the GB that must be free on the disk for a download, or for the rest of one."""
        size, stored = self._entries[candidate.model].download_gb or 0, self._machine.stored.get(candidate.model, 0)
        return DISK_RESERVE * max(0.0, size - stored)

    def _model(self, candidate: Candidate, origin: str, *, download_gb: float = 0) -> ModelChoice:
        settings = self._settings
        memory = candidate.memory if settings.memory == "auto" else settings.memory
        tiles = candidate.vae_tiling if settings.vae_tiling is None else settings.vae_tiling
        line = f"MODEL={candidate.model}" + (f" MEMORY={memory}" if memory != "full" else "")
        sentences = [
            f"MODEL=auto: {self._memory()} are enough for {line}{' VAE_TILING=1' if tiles else ''} ({origin}).",
            *self._alternatives(candidate),
            "Setting MODEL changes the choice.",
        ]
        return ModelChoice(candidate.model, " ".join(sentences), memory, tiles, download_gb)

    def _alternatives(self, chosen: Candidate) -> list[str]:
        """Return sentences about what else would serve here, and what it takes."""
        found = []
        fitting = [each for each in self._allowed() if self._has_memory_for(each) and each.is_downloaded]
        better = fitting[0] if fitting else chosen
        if better.model != chosen.model and self._order.index(better.model) < self._order.index(chosen.model):
            package = "" if self._fits(better) else " and the package torchao"
            found.append(f"MODEL={better.model} would fit with {self._size(better):.1f} GB free on the disk{package}.")
        other = next((each for each in ALTERNATIVES if self._has_memory_for(each)), None)
        if other and chosen.model == "z-image-turbo" and self._machine.kind in ("cuda", "xpu"):
            line = f"MODEL={other.model} MEMORY={other.memory}"
            found.append(f"{line}, with the package torchao, writes better and is slower.")
        return found

    def _demo(self, why: str, advice: str) -> ModelChoice:
        return ModelChoice(
            DEMO, f"MODEL=auto: {why}, so the embedded demo model generates, which knows simple shapes only; {advice}."
        )

    def _memory(self) -> str:
        machine = self._machine
        return f"{machine.free:.1f} GiB free on the {machine.device} and {machine.ram:.0f} GiB of RAM"
