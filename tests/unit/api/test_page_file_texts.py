"""Of a file that may hold settings, the page sends only its texts."""

import base64
import io
import random
import shutil
import subprocess

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imageserver.api.page import views
from imageserver.api.page.joined import join_modules

NODE = shutil.which("node")
IMAGE_DESCRIPTION = 270
MAIN = """import { textsIn } from "./file_texts.js";
const file = new Blob([Buffer.from(require("fs").readFileSync(0, "utf8"), "base64")]);
textsIn(file).then(async (found) => {
  process.stdout.write(found === null ? "" : Buffer.from(await found.arrayBuffer()).toString("base64"));
});
"""


def texts_in(content):
    """Return the file that the page sends of one with this content, or nothing."""
    source = (views.FOLDER / "inputs" / "file_texts.js").read_text(encoding="utf-8")
    script = join_modules("main.js", {"main.js": MAIN, "file_texts.js": source})
    given = base64.b64encode(content).decode()
    ran = subprocess.run([NODE, "-e", script], input=given, capture_output=True, text=True, timeout=30, check=True)
    return base64.b64decode(ran.stdout)


def photo(image_format, **options):
    image = Image.frombytes("RGB", (256, 256), random.Random(1).randbytes(3 * 256 * 256))
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def described(text):
    exif = Image.Exif()
    exif[IMAGE_DESCRIPTION] = text
    return exif


@pytest.mark.skipif(NODE is None, reason="there is no node")
@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("text", ["steps of a cat", "one letter more"])
def test_a_photo_stays_where_it_is_and_only_its_texts_are_sent(image_format, text):
    content = photo(image_format, exif=described(text), pnginfo=PngInfo())
    sent = texts_in(content)
    assert len(sent) < 2000 < len(content)
    if image_format != "JPEG":
        Image.open(io.BytesIO(sent)).load()
    assert Image.open(io.BytesIO(sent)).getexif()[IMAGE_DESCRIPTION] == text


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_of_a_webp_without_texts_nothing_is_sent():
    assert texts_in(photo("WEBP")) == b""
