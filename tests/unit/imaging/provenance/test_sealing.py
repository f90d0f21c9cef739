"""A seal proves what this server wrote, and nothing that it did not."""

import io

import numpy as np
import pytest
from PIL import Image

from imageserver.imaging.encoding import encode
from imageserver.imaging.metadata import ImageMetadata, read_metadata
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.imaging.provenance.xmp import seal_in, with_seal
from tests.support.images import file_of, noise

FORMATS = pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
SEALER, OTHER = Sealer(b"s" * 32), Sealer(b"o" * 32)
# A prompt that looks like a seal must not be mistaken for one.
PROMPT = f'a wolf qis:seal="{"0" * 96}" in the snow'


def sealed(output_format, *, seed=0, prompt=PROMPT, sealer=SEALER):
    metadata = ImageMetadata(
        prompt=prompt, negative_prompt="", steps=4, sampler="Euler", cfg_scale=4.0, seed=seed, width=64, height=64,
        model="demo", version="1",
    )  # fmt: skip
    return encode(np.asarray(noise(seed)), output_format=output_format, metadata=metadata, sealer=sealer)


def checked(data, sealer=SEALER):
    """Return whether it was made here, whether it is unchanged, and whether its settings are authentic."""
    found = sealer.check(data, read_metadata(data).get("generation"))
    return found.made_here, found.unchanged, found.authentic_settings


@FORMATS
def test_a_file_as_it_was_written_was_made_here_and_is_unchanged(output_format):
    assert checked(sealed(output_format)) == (True, True, True)


@FORMATS
def test_nobody_without_the_secret_can_say(output_format):
    assert checked(sealed(output_format), OTHER) == (None, None, False)
    assert checked(encode(np.asarray(noise()), output_format=output_format)) == (None, None, False)


@FORMATS
def test_every_changed_byte_shows(output_format):
    data = sealed(output_format)
    for position in np.linspace(len(data) // 2, len(data) - 20, 5, dtype=int):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        assert SEALER.check(changed, read_metadata(data)["generation"]).made_here is None
        assert SEALER.check(changed, read_metadata(data)["generation"]).unchanged is False
    assert checked(data + b"more") == (None, False, True)


@FORMATS
def test_pixels_under_the_metadata_of_another_image_are_not_said_to_be_made_here(output_format):
    with Image.open(io.BytesIO(sealed(output_format))) as image:
        kept = {"exif": image.info.get("exif", b""), "xmp": image.info["xmp"]} if output_format != "png" else {}
    if output_format == "png":
        first, second = sealed("png"), sealed("png", seed=1)
        pixels_of, texts_of = second[second.index(b"IDAT") - 4 :], first[: first.index(b"IDAT") - 4]
        forged = texts_of + pixels_of
    else:
        forged = file_of(noise(1), output_format, **kept)
    assert checked(forged) == (None, False, True)


@FORMATS
def test_a_seal_on_another_image_and_other_settings_is_false(output_format):
    with_other_settings = sealed(output_format, seed=1, prompt="a sheep")
    forged = with_seal(with_other_settings, seal_in(sealed(output_format)))
    assert checked(forged) == (False, False, False)


def test_a_seal_whose_settings_were_removed_proves_no_more_than_that():
    with Image.open(io.BytesIO(sealed("jpeg"))) as image:
        stripped = file_of(image, "JPEG", xmp=image.info["xmp"])
    assert checked(stripped) == (None, False, False)


def test_a_seal_anywhere_in_any_bytes_is_checked_without_an_error():
    seal = b'qis:seal="' + seal_in(sealed("png")).encode() + b'"'
    for data in (seal, b"\x89PNG\r\n\x1a\n" + bytes(40) + seal, b"\x89PNG" + seal, b"\x89PNG" + b"\xff" * 40 + seal):
        assert SEALER.check(data, "{}").made_here is False
        assert SEALER.check(data, None).made_here is None
