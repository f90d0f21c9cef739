"""What MODEL=auto means on a machine: the best model with an open licence that its free memory holds.

It only calculates, so `doctor` may ask it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imageserver.engine.downloads.disk_space import needed_for
from imageserver.engine.downloads.unavailable import ModelUnavailable
from imageserver.engine.families import FAMILIES
from imageserver.engine.models.candidates import (
    ALTERNATIVES,
    FLOAT16_MODELS,
    LADDERS,
    ON_CPU,
    OWN_MEMORY,
    SLOWER,
    TEXT_WIDTHS,
    Candidate,
    candidates,
    entry_of,
    ladder,
    shipped_entry,
)
from imageserver.engine.models.machine import Machine
from imageserver.generation import MemoryPlanName, RecommendedModel
from imageserver.registry import DEMO
from imageserver.settings import Settings

DEMO_FAMILY = "qwen-image"


@dataclass(frozen=True)
class ModelChoice:
    """A model and its memory plan; `download_gb` is 0 where its files are on the disk."""

    model: str
    reason: str
    memory: MemoryPlanName | Literal["auto"] = "auto"
    vae_tiling: bool = False
    download_gb: float = 0


def choose(machine: Machine, settings: Settings, *, hub_failed: bool = False) -> ModelChoice:
    """Return the choice, within what the settings say about memory and number formats.

    Where the hub has failed, it is one without a download. Raises RegistryUnusable, and ModelUnavailable where only the
    demo model is left and does not take the ControlNets.
    """
    return _Choosing(machine, settings).choice(hub_failed=hub_failed)


def recommend(machine: Machine, settings: Settings) -> RecommendedModel | None:
    """Return the best model that the memory holds, whatever is on the disk; None where it holds none.

    On a CPU it is one that MODEL=auto leaves out, because it is slow there. Raises RegistryUnusable.
    """
    return _Choosing(machine, settings).recommendation()


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
            line = self._line_on_cpu()
            advice = f"{line}{self._online(ON_CPU.model)} runs on it too, slowly" if line else "MODEL names another"
            return self._demo("the device is a CPU", advice)
        allowed = self._allowed()
        fitting = [candidate for candidate in allowed if self._fits(candidate)]
        stored = next((each for each in fitting if each.model in machine.on_disk), None)
        if stored is not None:
            return self._model(stored, "its files are on the disk")
        fitting = [each for each in fitting if each.is_downloaded]
        best = next((each for each in fitting if self._size(each) <= machine.disk), None)
        if settings.controlnets and not allowed:
            return self._demo("no other model that it may choose takes this CONTROLNET", "MODEL names another")
        if not fitting:
            return self._demo(*self._why_none_fits())
        if settings.offline or hub_failed:
            names = " or ".join(dict.fromkeys(each.model for each in fitting))
            if hub_failed:
                return self._demo(f"{names} is not on the disk", "the next start tries the download again")
            return self._demo(f"OFFLINE=1 and {names} is not on the disk", "start once without OFFLINE")
        if best is None:
            needed = f"{self._size(fitting[-1]):.1f} GB for {fitting[-1].model}"
            return self._demo(
                f"{settings.models_dir} has {machine.disk:.1f} GB free, less than {needed}",
                "free some space, or set MODELS_DIR",
            )
        entry = self._entries[best.model]
        origin = f"a download of {entry.download_gb or 0:.1f} GB, licence {entry.licence}"
        return self._model(best, origin, download_gb=entry.download_gb or 0)

    def _why_none_fits(self) -> tuple[str, str]:
        """Return why no candidate fits, and what to do."""
        settings = self._settings
        plan = "" if settings.memory == "auto" else f" with MEMORY={settings.memory}"
        models = "model that takes this CONTROLNET" if settings.controlnets else "other model"
        why = f"{self._memory()} are too little for any {models}{plan}"
        if any(map(self._fits, self._allowed("auto"))):
            return why, "set MEMORY=auto"
        slower = next((each for each in SLOWER if self._is_slower_way(each)), None)
        if slower is None:
            return why, "free some memory"
        return why, f"MODEL={slower.model} MEMORY={slower.memory}{self._online(slower.model)} fits, and is slower"

    def _is_slower_way(self, candidate: Candidate) -> bool:
        """Return whether a line outside of the ladder would do."""
        has_own_memory = LADDERS[self._machine.kind] is OWN_MEMORY
        return has_own_memory and self._takes_control_nets(candidate.model) and self._fits(candidate)

    def recommendation(self) -> RecommendedModel | None:
        if not self._order:
            line = self._line_on_cpu()
            return self._recommended(line, ON_CPU.model) if line else None
        fitting = [each for each in self._allowed() if self._fits(each)]
        best = next((each for each in fitting if each.is_downloaded or each.model in self._machine.on_disk), None)
        if best is None:
            return None
        others = dict.fromkeys(each.model for each in fitting if each.model != best.model)
        return self._recommended(self._line(best), best.model, tuple(others))

    def _recommended(self, line: str, model: str, others: tuple[str, ...] = ()) -> RecommendedModel | None:
        entry = entry_of(model, self._settings)
        if entry is None:
            return None
        size = 0 if model in self._machine.on_disk else entry.download_gb or 0
        return RecommendedModel(model, line + self._online(model), size, entry.licence or "", others)

    def _online(self, model: str) -> str:
        """Return what a line needs to do what it promises: with OFFLINE nothing would be downloaded."""
        return " OFFLINE=0" if self._settings.offline and model not in self._machine.on_disk else ""

    def _allowed(self, memory: MemoryPlanName | Literal["auto"] | None = None) -> Sequence[Candidate]:
        """Return the candidates that the settings leave, with another plan than theirs where one is given."""
        settings = self._settings
        float16 = settings.dtype == "float16" or (settings.dtype == "auto" and not self._machine.bfloat16)
        return [
            each
            for each in ladder(self._machine.kind, memory or settings.memory)
            if each.model in self._entries
            and not (each.vae_tiling and settings.vae_tiling is False)
            and (not float16 or each.model in FLOAT16_MODELS)
            and self._takes_control_nets(each.model)
        ]

    def _takes_control_nets(self, model: str) -> bool:
        """Return whether a model takes those of CONTROLNET, as far as its files and theirs are known yet."""
        entry, count = entry_of(model, self._settings), len(self._settings.controlnets)
        family_name = DEMO_FAMILY if model == DEMO else entry and entry.family
        family = next((each for each in FAMILIES if each.name == family_name), None)
        if not count or family is None:
            return True
        # Another source has texts of another width, perhaps.
        width = TEXT_WIDTHS.get(model) if entry == shipped_entry(model) else None
        fits = all(
            kind.class_name == family.control_net and (width is None or kind.text_width in (None, width))
            for kind in self._machine.control_nets
        )
        return bool(family.control_net) and count <= family.max_control_nets and fits

    def _fits(self, candidate: Candidate) -> bool:
        return self._has_memory_for(candidate) and (self._machine.has_torchao or "int8" not in candidate.memory)

    def _has_memory_for(self, candidate: Candidate) -> bool:
        machine, share = self._machine, 2 if self._settings.dtype == "float32" else 1
        beside = share * (candidate.free + machine.controls)
        return beside <= machine.free and share * candidate.ram <= machine.ram

    def _line_on_cpu(self) -> str:
        """Return the line of the model for a CPU, empty where it does not fit: in float32, if not set."""
        share = 1 if self._settings.dtype in ("float16", "bfloat16") else 2
        needed, takes = share * (ON_CPU.free + self._machine.controls), self._takes_control_nets(ON_CPU.model)
        return f"MODEL={ON_CPU.model}" if needed <= self._machine.ram and takes else ""

    def _size(self, candidate: Candidate) -> float:
        """Return the GB that must be free on the disk for a download, or for the rest of one, and for CONTROLNET's."""
        size, stored = self._entries[candidate.model].download_gb or 0, self._machine.stored.get(candidate.model, 0)
        return needed_for(max(0.0, size - stored) + self._machine.controls_gb)

    def _model(self, candidate: Candidate, origin: str, *, download_gb: float = 0) -> ModelChoice:
        size = self._machine.controls_gb
        further = f", and {size:.1f} GB for CONTROLNET" if size else ""
        sentences = [
            f"MODEL=auto: {self._memory()} are enough for {self._line(candidate)} ({origin}{further}).",
            *self._alternatives(candidate),
            "Setting MODEL changes the choice.",
        ]
        memory, tiles = self._plan_of(candidate)
        return ModelChoice(candidate.model, " ".join(sentences), memory, tiles, download_gb)

    def _plan_of(self, candidate: Candidate) -> tuple[MemoryPlanName, bool]:
        """Return the memory plan, and whether the VAE decodes in tiles: the settings go before the candidate's."""
        settings = self._settings
        memory = candidate.memory if settings.memory == "auto" else settings.memory
        return memory, candidate.vae_tiling if settings.vae_tiling is None else settings.vae_tiling

    def _line(self, candidate: Candidate) -> str:
        memory, tiles = self._plan_of(candidate)
        plan = f" MEMORY={memory}" if memory != "full" else ""
        return f"MODEL={candidate.model}{plan}{' VAE_TILING=1' if tiles else ''}"

    def _alternatives(self, chosen: Candidate) -> list[str]:
        """Return sentences about what else would serve here, and what it takes."""
        found = []
        fitting = [each for each in self._allowed() if self._has_memory_for(each) and each.is_downloaded]
        better = fitting[0] if fitting else chosen
        if better.model != chosen.model and self._order.index(better.model) < self._order.index(chosen.model):
            room = "" if better.model in self._machine.on_disk else f"{self._size(better):.1f} GB free on the disk"
            package = "" if self._fits(better) else "the package torchao"
            needed = " and ".join(filter(None, (room, package)))
            found.append(f"MODEL={better.model}{self._online(better.model)} would fit with {needed}.")
        known = (each for each in ALTERNATIVES if each.model in self._entries)
        other = next(filter(self._has_memory_for, known), None)
        if other and chosen.model == "z-image-turbo" and self._machine.kind in ("cuda", "xpu"):
            line = f"MODEL={other.model} MEMORY={other.memory}{self._online(other.model)}"
            found.append(f"{line}, with the package torchao, writes better and is slower.")
        return found

    def _demo(self, why: str, advice: str) -> ModelChoice:
        if not self._takes_control_nets(DEMO):
            raise ModelUnavailable(
                f"MODEL=auto: {why}, and the embedded demo model takes no such ControlNet; {advice}. Or leave "
                "CONTROLNET empty."
            )
        return ModelChoice(
            DEMO, f"MODEL=auto: {why}, so the embedded demo model generates, which knows simple shapes only; {advice}."
        )

    def _memory(self) -> str:
        machine = self._machine
        controls = f", {machine.controls:.1f} of them for CONTROLNET," if machine.controls else ""
        return f"{machine.free:.1f} GiB free on the {machine.device}{controls} and {machine.ram:.0f} GiB of RAM"
