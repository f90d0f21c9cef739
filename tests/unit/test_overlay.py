"""What people see in the top right corner of their images."""

import ast
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import overlay
from overlay import draw_overlay, panel_lines

LINES = panel_lines(
    model="Qwen/Qwen-Image",
    aspect_ratio="16:9",
    width=1664,
    height=928,
    inference_time=3.4567,
    gpu="NVIDIA GeForce RTX 4090",
    cuda="12.1",
    when=datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC),
)
ODD_TEXTS = [
    "", " ", "\n\n", "\t" * 50, "one\ntwo", "nul\x00nul", "lone \ud800 surrogate \udfff", "\U0010ffff\ufffe",
    "W" * 100_000, "🐱👩‍👩‍👧❤️", "שלום مرحبا", "模型 モデル 모델", "модель é €", "नमस्ते ไทย",
    "\u202eevil\u202c\u200b", "a\u0301\u0302\u0303" * 20,
]  # fmt: skip


def image(width: int, height: int, shade: int = 200) -> Image.Image:
    return Image.new("RGB", (width, height), (shade, shade, shade))


def changed(before: Image.Image, after: Image.Image) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.any(np.asarray(before) != np.asarray(after), axis=2)
    return mask


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def letters_of(text: str, font_path: Path | None = None) -> NDArray[np.uint8]:
    """Return the bright pixels that one line of text leaves on a large black image."""
    drawn = np.asarray(draw_overlay(image(1600, 1600, 0), [text], font_path).convert("L"))
    left, top, right, bottom = box_of(drawn > 40)
    return drawn[top:bottom, left:right]


def test_the_panel_has_the_six_documented_lines() -> None:
    assert LINES == [
        "Qwen/Qwen-Image",
        "16:9: 1664x928",
        "Inference Time: 3.46s",
        "GPU: NVIDIA GeForce RTX 4090",
        "CUDA: 12.1",
        "DateTime: 2026-11-20 15:04:05",
    ]


@pytest.mark.parametrize(
    "size", [(256, 256), (512, 512), (1328, 1328), (1664, 928), (928, 1664), (1472, 1140), (4096, 256), (300, 3000)]
)
def test_the_box_sits_top_right_within_a_third_and_a_quarter(size: tuple[int, int]) -> None:
    width, height = size
    before = image(width, height)
    mask = changed(before, draw_overlay(before, LINES))
    left, top, right, bottom = box_of(mask)
    assert left >= width - width // 3
    assert bottom <= height // 4
    assert width - right < 0.02 * width + 4
    assert top < 0.02 * height + 4


@pytest.mark.parametrize("size", [(512, 512), (1328, 1328), (1664, 928), (928, 1664), (1140, 1472)])
def test_no_documented_line_is_cut_at_a_documented_size(size: tuple[int, int]) -> None:
    layout = overlay.lay_out(LINES, *size, None)
    assert layout is not None
    assert layout.lines == LINES


@pytest.mark.parametrize("shade", [0, 255])
def test_letters_stand_out_on_black_and_on_white(shade: int) -> None:
    before = image(512, 512, shade)
    after = draw_overlay(before, LINES).convert("L")
    left, top, right, bottom = box_of(changed(before, after.convert("RGB")))
    box = np.asarray(after)[top:bottom, left:right].astype(int)
    assert np.percentile(box, 99) - np.percentile(box, 10) > 110


def test_letters_grow_with_the_image() -> None:
    sizes = [overlay.lay_out(LINES, side, side, None) for side in (256, 512, 1024, 2048)]
    heights = [layout.font_size for layout in sizes if layout]
    assert len(heights) == 4
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (64, 64), (64, 2048), (2048, 64)])
def test_a_tiny_image_stays_as_it_is(size: tuple[int, int]) -> None:
    before = image(*size)
    assert not changed(before, draw_overlay(before, LINES)).any()


def test_the_given_image_is_not_touched() -> None:
    before = image(512, 512)
    draw_overlay(before, LINES)
    assert before.getextrema() == ((200, 200),) * 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_kind_of_image_becomes_rgb(mode: str) -> None:
    assert draw_overlay(Image.new(mode, (512, 512)), LINES).mode == "RGB"


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
def test_no_text_crashes_or_leaves_the_box(text: str) -> None:
    before = image(512, 512)
    left, _, _, bottom = box_of(changed(before, draw_overlay(before, [text, *LINES[1:]])))
    assert left >= 512 - 512 // 3
    assert bottom <= 512 // 4


def test_a_long_line_ends_in_an_ellipsis_and_leaves_the_others_readable() -> None:
    layout = overlay.lay_out(["folder/" * 40, *LINES[1:]], 1328, 1328, None)
    assert layout is not None
    assert layout.lines[0].endswith("…")
    assert layout.lines[1:] == LINES[1:]
    assert layout.font_size >= 14


def test_a_missing_glyph_comes_from_a_system_font() -> None:
    if not overlay.fallback_fonts():
        pytest.skip("this machine has no system fonts")
    assert not np.array_equal(letters_of("é"), letters_of("?"))


def test_a_glyph_that_no_font_has_becomes_a_question_mark() -> None:
    assert np.array_equal(letters_of("a\U000f0000b"), letters_of("a?b"))


def test_without_system_fonts_a_missing_glyph_becomes_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "fallback_fonts", tuple)
    overlay.drawn_as.cache_clear()
    try:
        assert np.array_equal(letters_of("née"), letters_of("n?e"))
    finally:
        overlay.drawn_as.cache_clear()


def test_a_font_of_ones_own_is_used() -> None:
    fonts = overlay.fallback_fonts()
    if not fonts:
        pytest.skip("this machine has no system fonts")
    assert not np.array_equal(letters_of("Qwen", fonts[0]), letters_of("Qwen"))


def test_a_font_that_cannot_be_read_is_replaced_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    assert np.array_equal(letters_of("Qwen", broken), letters_of("Qwen"))
    assert "broken.ttf" in caplog.text


def test_many_threads_draw_the_same_panel() -> None:
    before = image(512, 512)
    expected = draw_overlay(before, LINES).tobytes()
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: draw_overlay(before, LINES).tobytes(), range(40)))
    assert set(drawn) == {expected}


def test_no_lines_draw_no_box() -> None:
    before = image(512, 512)
    assert not changed(before, draw_overlay(before, [])).any()


def test_overlay_needs_pillow_and_nothing_of_ours() -> None:
    tree = ast.parse(Path(overlay.__file__).read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name for name in names if name and name.split(".")[0] in ("imageserver", "numpy", "aspect_ratios")}
