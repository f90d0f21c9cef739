"""A new engine's configuration, sent on its standard input: settings, where to report, and the first model."""

import json
import sys
from dataclasses import asdict, dataclass

from imageserver.protocol.channel import Address
from imageserver.settings import Settings


@dataclass(frozen=True)
class EngineConfig:
    """`default_model` names the one that clients have chosen, empty for the one of the settings."""

    settings: Settings
    address: Address
    default_model: str = ""

    def write(self) -> bytes:
        """Return it as JSON; it carries the key, so it never travels on a command line."""
        settings, address = self.settings.model_dump(mode="json"), asdict(self.address)
        return json.dumps({"settings": settings, "address": address, "default_model": self.default_model}).encode()


def read_engine_config() -> EngineConfig:
    content = json.loads(sys.stdin.buffer.read())
    settings = Settings.model_validate(content["settings"])
    return EngineConfig(settings, Address(**content["address"]), content["default_model"])
