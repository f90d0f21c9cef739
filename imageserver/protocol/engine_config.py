"""What a child process is told on its standard input: the settings, where to report, and what to begin with."""

import json
import sys
from dataclasses import asdict, dataclass

from imageserver.protocol.framing import Address
from imageserver.settings import Settings


@dataclass(frozen=True)
class EngineConfig:
    """What an engine must know; `chosen` names the model that clients have chosen, empty for that of the settings."""

    settings: Settings
    address: Address
    chosen: str = ""


def write_engine_config(brief: EngineConfig) -> bytes:
    """Return the brief of an engine; it carries the key, so it never travels on a command line."""
    settings, address = brief.settings.model_dump(mode="json"), asdict(brief.address)
    return json.dumps({"settings": settings, "address": address, "chosen": brief.chosen}).encode()


def read_engine_config() -> EngineConfig:
    """Read the brief from standard input."""
    content = json.loads(sys.stdin.buffer.read())
    settings = Settings.model_validate(content["settings"])
    return EngineConfig(settings, Address(**content["address"]), content["chosen"])
