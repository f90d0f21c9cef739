"""What a child process is told on its standard input: the settings, and where to report."""

import json
import sys
from dataclasses import asdict

from imageserver.channel import Address
from imageserver.settings import Settings


def write_brief(settings: Settings, address: Address) -> bytes:
    """Return the brief of an engine; it carries the key, so it never travels on a command line."""
    return json.dumps({"settings": settings.model_dump(mode="json"), "address": asdict(address)}).encode()


def read_brief() -> tuple[Settings, Address]:
    """Read the brief from standard input."""
    content = json.loads(sys.stdin.buffer.read())
    return Settings.model_validate(content["settings"]), Address(**content["address"])
