"""Draw the info panel into the top right corner of an image; needs only Pillow."""

import functools
import itertools
import logging
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

# Below 7 pixels the digits of Pillow's default font are illegible.
MIN_FONT_SIZE = 7
MIN_CHARACTERS = 8
MAX_LINE_CHARACTERS = 400
# 0.65 of black under white letters keeps a contrast above 5:1 on a white image.
BOX_OPACITY = 0.65
TITLE_SHADE, TEXT_SHADE = 255, 232
# FreeType rounds every letter's width to whole pixels, which tears words apart at 7 to 20 pixels ("DateT ime"): letters
# are drawn this many times larger and scaled down, and strengthened, because that thins their strokes.
OVERSAMPLING = 4
STROKE_GAMMA = 0.75

FONT_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts",
    "${WINDIR}/Fonts", "${LOCALAPPDATA}/Microsoft/Windows/Fonts",
)  # fmt: skip
# Fonts that cover what the default lacks, in the order of preference. Colour emoji fonts are left out: they exist in
# one size only.
FALLBACK_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "arial.ttf", "Arial.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "NotoSansSC-Regular.ttf",
    "SourceHanSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Light.ttc", "AppleSDGothicNeo.ttc",
    "msyh.ttc", "simsun.ttc", "msgothic.ttc", "malgun.ttf",
    "Arial Unicode.ttf", "FreeSans.ttf", "unifont.ttf", "unifont.otf", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf",
    "NotoEmoji-Regular.ttf", "Symbola.ttf", "seguisym.ttf", "Apple Symbols.ttf",
)  # fmt: skip

log = logging.getLogger(__name__)


class Layout(NamedTuple):
    """The panel's geometry in pixels: font, fitted lines, box, and the space inside and around it."""

    font_size: int
    lines: list[str]
    width: int
    height: int
    padding: int
    margin: int


def panel_lines(
    *,
    model: str,
    aspect_ratio: str,
    width: int,
    height: int,
    inference_time: float,
    gpu: str,
    cuda: str,
    when: datetime,
) -> list[str]:
    """Return the six documented lines; sizes in pixels, `inference_time` in seconds."""
    return [
        model,
        f"{aspect_ratio}: {width}x{height}",
        f"Inference Time: {inference_time:.2f}s",
        f"GPU: {gpu}",
        f"CUDA: {cuda}",
        f"DateTime: {when:%Y-%m-%d %H:%M:%S}",
    ]


def draw_overlay(image: Image.Image, lines: Sequence[str], font_path: Path | None = None) -> Image.Image:
    """Return a new RGB image with `lines` in a dark box at its top right.

    Box and margin stay within a third of the width and a quarter of the height: the font shrinks, then long lines end
    in an ellipsis, and an image too small for anything legible gets no box. All other pixels keep their values.
    """
    panelled = image.convert("RGB")
    layout = lay_out([_cleaned(line) for line in lines], panelled.width, panelled.height, font_path)
    if layout is None:
        return panelled
    left, top = panelled.width - layout.margin - layout.width, layout.margin
    area = (left, top, left + layout.width, top + layout.height)
    panelled.paste(_draw_box(panelled.crop(area), layout, font_path), area)
    return panelled


def lay_out(lines: list[str], width: int, height: int, font_path: Path | None) -> Layout | None:
    """Choose the largest font that fits, and shorten what does not; None when nothing legible fits."""
    if not lines:
        return None
    preferred = max(MIN_FONT_SIZE, round(math.sqrt(width * height) / 50))
    # One very long line must not make the other five tiny, so only the height may shrink the font further than this.
    least = max(MIN_FONT_SIZE, round(0.6 * preferred))
    for size in range(preferred, MIN_FONT_SIZE - 1, -1):
        padding, margin = max(2, round(0.45 * size)), max(1, round(0.35 * size))
        box_height = len(lines) * _line_height(size) + 2 * padding
        if box_height + margin > height // 4:
            continue
        room = width // 3 - margin - 2 * padding
        if room < MIN_CHARACTERS * 0.5 * size:
            continue
        longest = max(_text_width(line, size, font_path) for line in lines)
        if longest > room and size > least:
            continue
        shortened = [_shortened(line, room, size, font_path) for line in lines]
        text_width = max(_text_width(line, size, font_path) for line in shortened)
        return Layout(size, shortened, min(room, math.ceil(text_width)) + 2 * padding, box_height, padding, margin)
    return None


def _draw_box(background: Image.Image, layout: Layout, font_path: Path | None) -> Image.Image:
    """Return `background` darkened, with rounded corners, and the lines written on it."""
    dark = Image.blend(background, Image.new("RGB", background.size), BOX_OPACITY)
    large = Image.new("L", (layout.width * OVERSAMPLING, layout.height * OVERSAMPLING))
    corners = (0, 0, large.width - 1, large.height - 1)
    ImageDraw.Draw(large).rounded_rectangle(corners, layout.padding * OVERSAMPLING, fill=255)
    shape = large.reduce(OVERSAMPLING)
    box = Image.composite(dark, background, shape)
    box.paste((255, 255, 255), mask=_draw_letters(layout, font_path))
    return box


def _draw_letters(layout: Layout, font_path: Path | None) -> Image.Image:
    """Return the lines as an 8-bit mask of the box."""
    large = Image.new("L", (layout.width * OVERSAMPLING, layout.height * OVERSAMPLING))
    draw = ImageDraw.Draw(large)
    for row, line in enumerate(layout.lines):
        x = float(layout.padding * OVERSAMPLING)
        baseline = layout.padding + row * _line_height(layout.font_size) + round(0.95 * layout.font_size)
        for font, text in _runs(line, layout.font_size, font_path):
            draw.text(
                (x, baseline * OVERSAMPLING), text, font=font, fill=TEXT_SHADE if row else TITLE_SHADE, anchor="ls"
            )
            x += font.getlength(text)
    letters = large.resize((layout.width, layout.height), Image.Resampling.LANCZOS)
    return letters.point([round(255 * (value / 255) ** STROKE_GAMMA) for value in range(256)])


def _line_height(font_size: int) -> int:
    return round(1.2 * font_size)


def _text_width(line: str, size: int, font_path: Path | None) -> float:
    """Return the width of `line` in pixels of the image."""
    return sum(font.getlength(text) for font, text in _runs(line, size, font_path)) / OVERSAMPLING


def _shortened(line: str, room: int, size: int, font_path: Path | None) -> str:
    """Cut `line` so that it fits into `room` pixels with an ellipsis."""
    if _text_width(line, size, font_path) <= room:
        return line
    ellipsis = "…" if _has_glyph(font_path, "…") else "..."
    fits, too_long = 0, len(line)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _text_width(line[:middle].rstrip() + ellipsis, size, font_path) <= room:
            fits = middle
        else:
            too_long = middle
    return line[:fits].rstrip() + ellipsis


def _cleaned(line: str) -> str:
    """Return `line` without what breaks a layout: controls, surrogates, invisible joiners and selectors."""
    characters = []
    for character in unicodedata.normalize("NFC", line[:MAX_LINE_CHARACTERS]):
        category = unicodedata.category(character)
        if character.isspace():
            characters.append(" ")
        elif category in ("Cc", "Cs"):
            characters.append("?")
        elif category != "Cf" and not "\ufe00" <= character <= "\ufe0f":
            characters.append(character)
    return "".join(characters)


def _runs(line: str, size: int, font_path: Path | None) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
    """Split `line` into runs of one font each, OVERSAMPLING times too large; a glyph that no font has becomes `?`."""
    choices: list[tuple[Path | None, str]] = []
    for character in line:
        if character == " ":
            choices.append((choices[-1][0] if choices else font_path, character))
        else:
            choices.append(drawn_as(font_path, character))
    for path, run in itertools.groupby(choices, key=lambda choice: choice[0]):
        yield _font(path, size * OVERSAMPLING), "".join(character for _, character in run)


def has_font_for(character: str, font_path: Path | None = None) -> bool:
    """Return whether a font of this machine shows a character, which otherwise becomes a question mark."""
    return drawn_as(font_path, character)[1] == character


@functools.lru_cache(maxsize=8192)
def drawn_as(font_path: Path | None, character: str) -> tuple[Path | None, str]:
    """Return the first font that has `character`, None being Pillow's default, and what to draw with it."""
    if _has_glyph(font_path, character):
        return font_path, character
    fonts = (None, *fallback_fonts())
    return next(((path, character) for path in fonts if _has_glyph(path, character)), (font_path, "?"))


@functools.lru_cache(maxsize=8192)
def _has_glyph(font_path: Path | None, character: str) -> bool:
    """Return whether a font has a glyph of its own for `character`."""
    # Basic layout uses this font alone; HarfBuzz would draw a dotted circle for a mark that the font lacks.
    font = _font(font_path, 20, ImageFont.Layout.BASIC)
    if font.getmask(character).getbbox() is None:
        return False
    return _appearance(font, character) != _appearance(font, "\uffff")


def _appearance(font: ImageFont.FreeTypeFont, character: str) -> tuple[float, tuple[int, int], bytes]:
    mask = font.getmask(character)
    return font.getlength(character), mask.size, bytes(mask)


@functools.lru_cache(maxsize=128)
def _font(path: Path | None, size: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    """Load a font, or Pillow's scalable default in place of one that cannot be read."""
    if path is not None:
        try:
            return ImageFont.truetype(str(path), size, layout_engine=layout)
        except (OSError, ValueError) as error:
            log.warning("The overlay's font %s cannot be used (%s); Pillow's default font replaces it.", path, error)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@functools.cache
def fallback_fonts() -> tuple[Path, ...]:
    """Return this machine's fallback fonts; the first missing glyph searches the folders, once."""
    found: dict[str, Path] = {}
    for folder in FONT_FOLDERS:
        # Path.expanduser would raise for an account without a home.
        for parent, _, names in os.walk(os.path.expandvars(os.path.expanduser(folder))):  # noqa: PTH111
            for name in names:
                if name in FALLBACK_FONTS:
                    found.setdefault(name, Path(parent, name))
    return tuple(found[name] for name in FALLBACK_FONTS if name in found)
