"""Bodies of up to 32 MiB with an image as large as the server accepts, for each way to send one."""

import base64
import io
import json
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from benchmarks.bodies.sent_body import MIB, URLENCODED, SentBody

# A little below MAX_IMAGE_MB.
MAX_IMAGE_BYTES = 19 * MIB
WIDTH = 2300
BOUNDARY = "welcome"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
# The answer is small, so that what is measured is the way in.
FIELDS = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 1}


def _noise(size: int) -> bytes:
    """Return a PNG of incompressible pixels whose base64 is at most `size` bytes, with each + and / written as %2B."""
    height = min(MAX_IMAGE_BYTES, size * 2 // 3) // (3 * WIDTH + 1)
    pixels = np.random.default_rng(size).integers(0, 256, (height, WIDTH, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _coded(size: int) -> dict[str, object]:
    return FIELDS | {"image": base64.b64encode(_noise(size)).decode()}


def _json(size: int) -> bytes:
    return json.dumps(_coded(size) | {"cache": False}).encode()


def _json_with_emoji(size: int) -> bytes:
    fields = _coded(size) | {"prompt": "a cat \U0001f408", "cache": False}
    # As browsers write it, not as Python does.
    return json.dumps(fields, ensure_ascii=False).encode()


def _multipart(size: int) -> bytes:
    head = b'--welcome\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [head % (name.encode(), b"", str(text).encode()) for name, text in FIELDS.items()]
    return b"".join([*parts, head % (b"image", b'; filename="a.png"', _noise(size)), b"--welcome--\r\n"])


ACCEPTED_BODIES = (
    SentBody("an image in JSON", _json),
    SentBody("an image and an emoji in JSON", _json_with_emoji),
    SentBody("an image in a form", _multipart, content_type=MULTIPART),
    SentBody(
        "an image in a urlencoded form", lambda size: urlencode(_coded(size)).encode(), content_type=URLENCODED
    ),
    SentBody("an image in a frame", _json, "/ws/generate", transfer="frame"),
)  # fmt: skip
