"""LoRA files that say something of themselves, and have no weights: enough for lists and for the fake engine."""

import base64
import io
import json
import struct
from pathlib import Path

from PIL import Image

PREVIEW_WIDTH = 3


def write_loras(folder: Path) -> None:
    """Write eight LoRAs: `paper` with a preview and trigger words, the others with nothing but their names."""
    for number in range(7):
        (folder / f"style-{number}.safetensors").write_bytes(_file({}, number))
    metadata = {"modelspec.trigger_phrase": "paper cut, folded", "modelspec.thumbnail": _preview()}
    (folder / "paper.safetensors").write_bytes(_file(metadata, 7))


def _file(metadata: dict[str, str], number: int) -> bytes:
    header = json.dumps({"__metadata__": metadata | {"number": str(number)}}).encode()
    return struct.pack("<Q", len(header)) + header


def _preview() -> str:
    file = io.BytesIO()
    Image.new("RGB", (PREVIEW_WIDTH, 2), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
