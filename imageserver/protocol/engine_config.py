"""A new engine's configuration, sent on its standard input: settings, where to report, and the model to begin with."""

import json
import sys
from dataclasses import asdict, dataclass

from imageserver.protocol.channel import Address
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings


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
