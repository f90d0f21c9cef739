"""The model that an engine begins with, and the file that keeps it for a later dispatcher."""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from imageserver.atomic_write import write_atomically
from imageserver.generation import MemoryPlanName, ModelInfo


@dataclass(frozen=True)
class InitialModel:
    """A model that an earlier engine had loaded, or died of loading, why, and how it was fitted into memory.

    The next engine chooses the same, though the memory of the dead one may not be free yet. `machine` is the label of
    the one whose memory that was, empty for this one; the plan `auto` is for an engine that has to fit it itself.
    """

    name: str
    reason: str
    memory_plan: MemoryPlanName | Literal["auto"]
    memory_reason: str
    vae_tiling: bool
    was_loaded: bool = True
    machine: str = ""

    @classmethod
    def of(cls, info: ModelInfo, machine: str = "") -> "InitialModel":
        device = info.device
        return cls(info.name, info.reason, device.memory_plan, device.memory_reason, device.vae_tiling, machine=machine)

    def fitted_on(self, machine: str) -> "InitialModel":
        """Return it for an engine on a machine, which has to fit it itself where that is another one."""
        if machine == self.machine:
            return self
        return replace(self, memory_plan="auto", memory_reason="", vae_tiling=False, was_loaded=False, machine=machine)

    def is_better_than(self, known: "InitialModel | None") -> bool:
        """Return whether it says more of its machine than what was known before."""
        if known is None or self.machine != known.machine:
            return True
        return not known.was_loaded and (self.was_loaded or self.name == known.name)

    def write(self, file: Path) -> None:
        """Keep it for the engines of a later dispatcher; without a place for it they choose again."""
        with contextlib.suppress(OSError):
            write_atomically(file, json.dumps(asdict(self)).encode(), private=True)


def read_initial_model(file: Path) -> InitialModel | None:
    """Return what an earlier dispatcher has kept, None where there was none."""
    try:
        return InitialModel(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
