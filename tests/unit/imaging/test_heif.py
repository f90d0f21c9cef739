"""AVIF and HEIC files: what is decoded is never larger than what was checked, whatever the boxes around it say."""

import importlib
import io
import os
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile

from imageserver.errors import InvalidParameter
from imageserver.imaging import av1, decoding, heif
from tests.support.images import array_of, file_of

TEAL = (0, 128, 128)
REDUCED, KEY_FRAME = "1", "0" + "00" + "1"


def read(data, max_pixels=10**6):
    return decoding.read_image(data, name="image", max_pixels=max_pixels)


def refusal(data, max_pixels=10**6):
    with pytest.raises(InvalidParameter) as caught:
        read(data, max_pixels)
    return caught.value.sentence


def avif(size=(96, 64), mode="RGB", **options):
    return file_of(Image.new("RGB", size, TEAL).convert(mode), "AVIF", **options)


def named(data, width, height):
    """Return the file with another size in its box, which leaves the coded image as it is."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def as_heic(data):
    return data.replace(b"avif", b"heic", 2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_an_avif_is_read_like_any_other_image(mode):
    image = array_of(read(avif(mode=mode)))
    expected = np.asarray(Image.new("RGB", (1, 1), TEAL).convert(mode).convert("RGB"))[0, 0]
    assert image.shape == (64, 96, 3)
    assert np.abs(image.astype(int) - expected).max() <= 4


def test_the_transparency_of_an_avif_is_a_mask_in_openais_way():
    image = Image.new("RGBA", (64, 64), (*TEAL, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    mask = decoding.read_mask(file_of(image, "AVIF"), name="mask", max_pixels=10**4, transparent_means_edit=True)
    assert array_of(mask)[:, [4, 60]].mean(axis=0).tolist() == pytest.approx([255, 0], abs=3)


def test_an_avif_is_turned_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = read(avif(exif=exif))
    assert (turned.width, turned.height) == (64, 96)


def test_a_frame_that_is_larger_than_its_box_says_is_refused_before_anything_decodes_it(monkeypatch):
    monkeypatch.setattr(decoding, "DECODERS", {})
    bomb = named(avif((4000, 4000)), 64, 64)
    assert len(bomb) < 10_000
    assert "is an AVIF file that is damaged or of an unsupported kind" in refusal(bomb)


def test_the_limit_counts_the_size_in_the_box(monkeypatch):
    monkeypatch.setattr(decoding, "DECODERS", {})
    assert refusal(named(avif(), 20_000, 20_000)) == "image is 20000x20000, 400000000 pixels; the limit is 1000000."


def test_an_animation_is_refused_because_its_frames_are_elsewhere():
    frames = {"save_all": True, "append_images": [Image.new("RGB", (96, 64), "red")]}
    assert "unsupported kind" in refusal(avif(**frames))


def test_a_heic_is_refused_with_what_to_do_where_its_decoder_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "is a HEIC file, which this server reads where pillow-heif is installed" in refusal(as_heic(avif()))


def test_a_heic_is_read_where_its_decoder_is_installed(monkeypatch):
    data = avif()
    package = SimpleNamespace(HeifImageFile=lambda stream: AvifImageFile(io.BytesIO(data)))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert read(as_heic(data)).width == 96
    assert "the limit is 100." in refusal(as_heic(data), max_pixels=100)
    # Turned by its decoder, as photographs of phones are, and larger than its header says.
    turned = named(as_heic(data), 64, 96)
    assert (read(turned).width, read(turned).height) == (96, 64)
    assert "damaged" in refusal(named(as_heic(data), 64, 95))


def test_a_real_heic_is_read():
    if "QIS_FULL" not in os.environ:
        pytest.importorskip("pillow_heif")
    pillow_heif = importlib.import_module("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (96, 64), TEAL)).save(buffer)
    image = array_of(read(buffer.getvalue()))
    assert np.abs(image.astype(int) - TEAL).max() <= 6


def unit(kind, bits):
    """Return an open bitstream unit whose content begins with these bits."""
    content = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    return bytes([kind << 3 | 2, len(content)]) + content


def sequence(*, reduced, side=16):
    """Return the header of a sequence of square frames: 5 bits for each side, no optional tools."""
    start = "000" + "1" + ("1" + "00000" if reduced else "0" + "0" + "0" + "00000" + "0" * 12 + "00000")
    sides = "0100" * 2 + f"{side - 1:05b}" * 2
    # No frame numbers, seven tools, no order, screen content and integer motion chosen by each frame.
    return unit(av1.SEQUENCE_HEADER, start + sides + ("" if reduced else "0" + "0" * 7 + "0" + "1" + "1"))


def test_a_frame_in_the_size_of_its_sequence_is_counted():
    assert av1.frame_pixels(sequence(reduced=True) + unit(av1.FRAME, "0")) == 256
    # Probabilities adapt, no screen content, no other size.
    assert av1.frame_pixels(sequence(reduced=False) + unit(av1.FRAME, KEY_FRAME + "0" + "0" + "0")) == 256


@pytest.mark.parametrize(
    "stream",
    [
        # A frame with a size of its own, and with screen content before that.
        sequence(reduced=False) + unit(av1.FRAME, KEY_FRAME + "0" + "0" + "1"),
        sequence(reduced=False) + unit(av1.FRAME, KEY_FRAME + "0" + "1" + "0" + "1"),
        # An inter frame, a hidden one, and one without a sequence.
        sequence(reduced=False) + unit(av1.FRAME_HEADER, "0" + "01" + "1" + "0" * 4),
        sequence(reduced=False) + unit(av1.FRAME, "0" + "00" + "0" + "0" * 4),
        unit(av1.FRAME, KEY_FRAME + "000"),
        # A length that never ends, and endlessly many units.
        bytes([av1.FRAME << 3 | 2]) + b"\xff" * 9,
        unit(2, "0") * (av1.MAX_UNITS + 1),
    ],
)
def test_what_could_hide_another_size_is_refused(stream):
    with pytest.raises(av1.UnsupportedStream):
        av1.frame_pixels(stream)


def test_the_larger_of_two_sequences_counts():
    assert av1.frame_pixels(sequence(reduced=True, side=4) + sequence(reduced=True, side=32)) == 1024


def test_a_box_that_never_ends_is_an_error_and_no_endless_loop():
    data = avif()
    (first,) = struct.unpack_from(">I", data)
    with pytest.raises(ValueError, match="shorter than its own head"):
        heif.read_contents(data[:first] + struct.pack(">I4s", 3, b"free") + data[first:])
