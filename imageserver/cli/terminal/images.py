"""Images in the terminal itself, where it has kitty's or iTerm2's protocol.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol and https://iterm2.com/documentation-images.html
"""

import base64
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Literal

from PIL import Image

Protocol = Literal["kitty", "iterm2"]
# Kitty takes at most so many characters of base64 at a time.
CHUNK = 4096
MAX_SIDE = 512


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """Return how a terminal shows images; None where it cannot, or a multiplexer is in between."""
    if environment.get("TMUX") or environment.get("STY"):
        return None
    program = environment.get("TERM_PROGRAM", "")
    if environment.get("KITTY_WINDOW_ID") or environment.get("TERM") == "xterm-kitty" or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return None


def show_image(data: bytes) -> None:
    """Show an image file on standard output, if that is a terminal that can."""
    protocol = protocol_of(os.environ) if sys.stdout.isatty() else None
    if protocol is not None:
        print("".join(escape_codes(data, protocol)), flush=True)


def escape_codes(data: bytes, protocol: Protocol) -> Iterator[str]:
    """Yield what shows an image, made small enough for a window."""
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        file = io.BytesIO()
        image.save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    if protocol == "iterm2":
        yield f"\x1b]1337;File=inline=1;size={len(file.getvalue())}:{text}\a"
        return
    for start in range(0, len(text), CHUNK):
        more = int(start + CHUNK < len(text))
        controls = f"a=T,f=100,q=2,m={more}" if start == 0 else f"m={more}"
        yield f"\x1b_G{controls};{text[start : start + CHUNK]}\x1b\\"
