"""What images look like as bytes."""

import io
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.generation import OutputFormat
from imageserver.imaging import png
from imageserver.imaging.encoding import encode


def natural(width: int, height: int) -> NDArray[np.uint8]:
    """Return gradients, waves and a little noise, which cost an encoder about what a photograph costs."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    waves = [x * 200 + 40 * np.sin(9 * y), y * 180 + 50 * np.cos(21 * x * y), 128 + 100 * np.sin(5 * (x + y))]
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def fastest(act: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (64, 48), (513, 257)])
def test_png_gives_back_every_pixel(size: tuple[int, int]) -> None:
    pixels = natural(*size)
    assert np.array_equal(decoded(encode(pixels, output_format="png")), pixels)


def test_png_gives_back_pure_noise_and_flat_colour() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 130, 3), dtype=np.uint8)
    flat = np.full((100, 130, 3), 255, np.uint8)
    for pixels in (noise, flat):
        assert np.array_equal(decoded(encode(pixels, output_format="png")), pixels)


def test_png_and_webp_keep_the_transparency_and_jpeg_is_laid_on_white() -> None:
    pixels = np.dstack([natural(70, 50), np.random.default_rng(1).integers(0, 256, (50, 70), dtype=np.uint8)])
    pixels[:20, :, 3] = 0
    assert np.array_equal(decoded(encode(pixels, output_format="png")), pixels)
    assert np.array_equal(decoded(encode(pixels, output_format="webp"))[..., 3], pixels[..., 3])
    jpeg = decoded(encode(pixels, output_format="jpeg"))
    assert jpeg.shape == (50, 70, 3)
    assert jpeg[:16].min() > 250


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_cropped_view_encodes_like_its_copy(output_format: OutputFormat) -> None:
    view = natural(80, 60)[3:40, 5:60]
    assert encode(view, output_format=output_format) == encode(view.copy(), output_format=output_format)


def test_png_is_many_times_faster_than_pillow() -> None:
    pixels = natural(512, 512)
    image = Image.fromarray(pixels)
    ours = fastest(lambda: encode(pixels, output_format="png"))
    pillow = fastest(lambda: image.save(io.BytesIO(), "PNG"))
    assert pillow / ours > 8, f"{pillow * 1000:.1f} ms against {ours * 1000:.1f} ms"


def test_png_is_not_much_larger_than_pillows() -> None:
    pixels = natural(256, 256)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    assert len(encode(pixels, output_format="png")) < 1.3 * len(buffer.getvalue())


def test_png_is_exact_and_still_quick_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    write_png = runpy.run_path(str(png.__file__))["write_png"]
    pixels = natural(256, 256)
    assert np.array_equal(decoded(write_png(pixels, {})), pixels)
    image = Image.fromarray(pixels)
    level_1 = fastest(lambda: image.save(io.BytesIO(), "PNG", compress_level=1))
    assert fastest(lambda: write_png(pixels, {})) < level_1


@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_each_format_is_what_it_says_and_looks_like_the_pixels(output_format: OutputFormat, name: str) -> None:
    pixels = natural(96, 64)
    data = encode(pixels, output_format=output_format)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, image.mode) == (name, (96, 64), "RGB")
    assert np.abs(decoded(data).astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_less_compression_quality_makes_a_smaller_file(output_format: OutputFormat) -> None:
    pixels = natural(128, 128)
    sizes = [len(encode(pixels, output_format=output_format, compression=quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_png_ignores_compression() -> None:
    pixels = natural(32, 32)
    assert encode(pixels, output_format="png", compression=10) == encode(pixels, output_format="png")


@pytest.mark.parametrize("compression", [-1, 101])
def test_a_compression_out_of_range_names_the_field(compression: int) -> None:
    with pytest.raises(InvalidParameter) as caught:
        encode(natural(8, 8), output_format="jpeg", compression=compression)
    assert caught.value.param == "output_compression"


def test_an_image_too_long_for_webp_says_its_limit() -> None:
    with pytest.raises(InvalidParameter, match="16383"):
        encode(np.zeros((1, 16_384, 3), np.uint8), output_format="webp")


def test_the_longest_webp_and_jpeg_are_written() -> None:
    assert decoded(encode(np.zeros((1, 16_383, 3), np.uint8), output_format="webp")).shape == (1, 16_383, 3)
    assert decoded(encode(np.zeros((1, 65_500, 3), np.uint8), output_format="jpeg")).shape == (1, 65_500, 3)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_pixels_of_another_kind_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode(pixels, output_format="png")
