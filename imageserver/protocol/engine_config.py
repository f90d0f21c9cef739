"""A new engine's configuration, sent on its standard input: settings, where to report, and the model to begin with."""

import contextlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from imageserver.atomic_write import write_atomically
from imageserver.generation import MemoryPlanName, ModelInfo
from imageserver.protocol.channel import Address
from imageserver.settings import Settings


@dataclass(frozen=True)
class InitialModel:
    """A model that an earlier engine had loaded, why, and how it was fitted into memory.

    The next engine chooses the same, though the memory of the dead one may not be free yet.
    """

    name: str
    reason: str
    memory_plan: MemoryPlanName
    memory_reason: str
    vae_tiling: bool

    @classmethod
    def of(cls, info: ModelInfo) -> "InitialModel":
        device = info.device
        return cls(info.name, info.reason, device.memory_plan, device.memory_reason, device.vae_tiling)

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


@dataclass(frozen=True)
class EngineConfig:
    """`default_model` is the one that clients have chosen, `configured_model` what the settings meant at first."""

    settings: Settings
    address: Address
    default_model: InitialModel | None = None
    configured_model: InitialModel | None = None

    def write(self) -> bytes:
        """Return it as JSON; it carries the key, so it never travels on a command line."""
        content = asdict(self) | {"settings": self.settings.model_dump(mode="json")}
        return json.dumps(content).encode()


def read_engine_config() -> EngineConfig:
    content = json.loads(sys.stdin.buffer.read())
    settings = Settings.model_validate(content["settings"])
    default, configured = (
        InitialModel(**content[name]) if content[name] else None for name in ("default_model", "configured_model")
    )
    return EngineConfig(settings, Address(**content["address"]), default, configured)
