"""What `doctor` finds out about the machine without PyTorch: Python, memory, disk, address and fonts."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator

import overlay
from imageserver import ram, startup
from imageserver.protocol.finding import Finding
from imageserver.settings import WORKING_DIR, Settings

GIB = 1024**3
# Logs, the cache of answers and saved images need some of it.
MIN_FREE_DISK_BYTES = GIB
LETTER_BEYOND_LATIN = "\u732b"  # a cat


def inspect(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each part of the machine."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"Python {version} on {platform.system()} {platform.machine()}.")
    memory = ram.measure()
    yield Finding("ram", "ok", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB of RAM are free.")
    yield _disk()
    yield _address(settings)
    yield _fonts(settings)


def _disk() -> Finding:
    free = shutil.disk_usage(WORKING_DIR).free
    sentence = f"{free / GIB:.1f} GiB are free in {WORKING_DIR}"
    if free < MIN_FREE_DISK_BYTES:
        return Finding("disk", "problem", f"{sentence}, too little for the cache and saved images; free some space.")
    return Finding("disk", "ok", f"{sentence}.")


def _address(settings: Settings) -> Finding:
    """Return whether the server could listen, in the words of the start."""
    checks: tuple[Callable[[], None], ...] = (
        lambda: startup.require_closed(settings, [settings.host]),
        lambda: startup.require_free_port(settings),
    )
    for check in checks:
        try:
            check()
        except SystemExit as refusal:
            return Finding("address", "problem", f"{refusal}.".replace("..", "."))
    return Finding("address", "ok", f"{startup.address(settings)} is free.")


def _fonts(settings: Settings) -> Finding:
    if overlay.has_font_for(LETTER_BEYOND_LATIN, settings.font_path):
        return Finding("fonts", "ok", "The info panel has a font with Chinese letters.")
    return Finding(
        "fonts", "warning", "No font with Chinese letters was found: the info panel shows ? for them; set FONT_PATH."
    )
