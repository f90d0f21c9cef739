"""Draw the contact sheets that show what a model can do."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tools.demo.stock_pipeline import ImageOptions, StockPipeline
from tools.demo.vocabulary import LANDSCAPE_WORDS, LANDSCAPES, SHAPES, SUBJECTS

PROMPTS = (
    "a red circle on a blue background",
    "a large yellow star on the left, a small green square on the right",
    "a sunset over mountains",
    "a cat",
    "a house",
    "a boat on the ocean",
    "a rocket in the night sky",
    "a white cat on a purple background",
    "a green triangle above an orange circle on a white background",
    "a black crescent on a pink background",
    "two cats",
    "three red stars",
    "a red car on the beach",
    "a smiley",
    "a flower on a yellow background",
    "a purple heart in the top left corner",
    "A cute cat sitting on a windowsill",
    "a blue house in front of snowy mountains",
    "一个红色圆形在蓝色背景上",
    "a beautiful fluffy unicorn, masterpiece",
    "a tree",
    "a fish on a cyan background",
    "a city at night",
    "a rainbow",
)
COLOUR_PAIRS = (
    ("red", "white"),
    ("blue", "yellow"),
    ("black", "pink"),
    ("green", "white"),
    ("white", "blue"),
    ("orange", "gray"),
)
SHEET_SIZES = (
    (512, 512),
    (1328, 1328),
    (1664, 928),
    (928, 1664),
    (1472, 1140),
    (1140, 1472),
    (1584, 1056),
    (1056, 1584),
)


def contact_sheet(items: Sequence[tuple[str, Image.Image]], columns: int, path: Path, cell: int = 180) -> None:
    """Draw captioned images in a grid, with few enough colours to stay small."""
    font = ImageFont.load_default(11)
    captions = [wrap(text, cell - 8, font) for text, _ in items]
    rows = range(0, len(items), columns)
    heights = [cell + 5 + 13 * max(len(caption) for caption in captions[row : row + columns]) for row in rows]
    sheet = Image.new("RGB", (columns * cell, sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, ((_, image), caption) in enumerate(zip(items, captions, strict=True)):
        x, y = index % columns * cell, sum(heights[: index // columns])
        small = image.copy()
        small.thumbnail((cell - 6, cell - 6), Image.Resampling.LANCZOS)
        sheet.paste(small, (x + 3 + (cell - 6 - small.width) // 2, y + 3))
        for line, text in enumerate(caption):
            draw.text((x + 4, y + cell - 2 + 13 * line), text, fill="black", font=font)
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def wrap(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Return the text in lines of at most `width` pixels, broken between words; a longer word has a line of its own."""
    lines = [""]
    for word in text.split():
        line = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(line) > width:
            lines.append(word)
        else:
            lines[-1] = line
    return lines


def draw_sheets(stock: StockPipeline, folder: Path) -> None:
    """Write the four sheets of the docs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ascii_only = [prompt if prompt.isascii() else "(zh) red circle, blue background" for prompt in PROMPTS]
    images = stock.generate(PROMPTS, [42 + index for index in range(len(PROMPTS))])
    contact_sheet(list(zip(ascii_only, images, strict=True)), 6, folder / "demo_prompts.png")
    prompts = [f"{_article(one)} {one} {kind} on a {two} background" for kind in SHAPES for one, two in COLOUR_PAIRS]
    prompts += [f"a {kind}" for kind in SUBJECTS for _ in range(3)] + [
        LANDSCAPE_WORDS[name][0] for name in LANDSCAPES for _ in range(2)
    ]
    images = stock.generate(prompts, [500 + index for index in range(len(prompts))])
    contact_sheet(list(zip(prompts, images, strict=True)), 12, folder / "demo_shapes.png", 110)
    items = []
    for prompt in ("a red circle on a blue background", "a sunset over mountains"):
        for width, height in SHEET_SIZES:
            items.append((f"{width}x{height}", stock.generate([prompt], [7], ImageOptions(width, height))[0]))
    contact_sheet(items, 8, folder / "demo_sizes.png", 150)
    items = [(f"a cat, seed {seed}", stock.generate(["a cat"], [seed])[0]) for seed in range(6)]
    for negative in (" ", "red", "blue background"):
        items += [
            (f"a circle, not: {negative.strip() or 'nothing'}", image)
            for image in stock.generate(["a circle"] * 2, [5, 6], ImageOptions(negative=negative))
        ]
    prompt = "a green star on a pink background"
    for guidance in (1.0, 1.5, 2.0, 4.0, 6.0, 8.0):
        items.append(
            (f"green star on pink, CFG {guidance:g}", stock.generate([prompt], [5], ImageOptions(guidance=guidance))[0])
        )
    contact_sheet(items, 6, folder / "demo_controls.png", 150)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
