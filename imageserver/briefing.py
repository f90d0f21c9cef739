"""What a child process is told on its standard input: the settings, where to report, and what to begin with."""

import json
import sys
from dataclasses import asdict, dataclass

from imageserver.channel import Address
from imageserver.settings import Settings


@dataclass(frozen=True)
class Brief:
    """What an engine must know; `chosen` names the model that clients have chosen, empty for that of the settings."""

    settings: Settings
    address: Address
    chosen: str = ""


def write_brief(brief: Brief) -> bytes:
    """Return the brief of an engine; it carries the key, so it never travels on a command line."""
    settings, address = brief.settings.model_dump(mode="json"), asdict(brief.address)
    return json.dumps({"settings": settings, "address": address, "chosen": brief.chosen}).encode()


def read_brief() -> Brief:
    """Read the brief from standard input."""
    content = json.loads(sys.stdin.buffer.read())
    settings = Settings.model_validate(content["settings"])
    return Brief(settings, Address(**content["address"]), content["chosen"])
