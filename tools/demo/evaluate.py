"""Score a model folder against its prompts: `python -m tools.demo.evaluate MODEL_DIR` prints JSON and draws sheets.

Every prompt about one object is a combination of colour, object and background that training never saw
(`scenes.is_held_out`).
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from aspect_ratios import ASPECT_RATIOS
from tools.demo.measure import (
    border_colour,
    centre_of,
    components,
    foreground,
    name_body_colour,
    name_kind,
    name_landscape,
    nearest_colour,
    thing_colour,
)
from tools.demo.scenes import is_held_out
from tools.demo.sheets import draw_sheets
from tools.demo.stock_pipeline import MAGIC, ImageOptions, StockPipeline, pixels
from tools.demo.vocabulary import COLOURS, LANDSCAPE_WORDS, LANDSCAPES, SHAPES, SUBJECTS


@dataclass(frozen=True)
class Single:
    """One object of one colour on a plain background."""

    colour: str
    kind: str
    background: str

    @property
    def prompt(self) -> str:
        """Return the prompt in plain words."""
        colour = "an" if self.colour[0] in "aeiou" else "a"
        background = "an" if self.background[0] in "aeiou" else "a"
        return f"{colour} {self.colour} {self.kind} on {background} {self.background} background"


def held_out_singles(kinds: Sequence[str], each: int, seed: int) -> list[Single]:
    """Return `each` held-out combinations of every kind, spread over the colours."""
    generator, chosen = random.Random(seed), []
    names = tuple(COLOURS)
    for kind in kinds:
        pairs = [(a, b) for a in names for b in names if a != b and is_held_out(a, kind, b)]
        generator.shuffle(pairs)
        chosen += [Single(a, kind, b) for a, b in (pairs * each)[:each]]
    return chosen


Score = dict[str, float | int]


def share(right: Sequence[bool]) -> float:
    """Return the share of right answers, rounded."""
    return round(sum(right) / max(1, len(right)), 4)


def judge_single(image: Image.Image, wanted: Single, among: tuple[str, ...]) -> dict[str, bool]:
    """Judge one image of one object."""
    colours = pixels(image)
    mask = foreground(colours)
    result = {
        "background_colour": nearest_colour(border_colour(colours)) == wanted.background,
        "object_colour": False,
        "kind": False,
    }
    if mask.sum() >= 60:
        if wanted.kind in SHAPES:
            found = nearest_colour(thing_colour(colours, mask))
        else:  # a car's wheels and windows are not its colour
            found = name_body_colour(colours, mask, wanted.kind)
        result["object_colour"] = found == wanted.colour
        result["kind"] = name_kind(colours, mask, among) == wanted.kind
    return result


def score_singles(
    stock: StockPipeline, kinds: tuple[str, ...], each: int, suffix: str, seed: int, options: ImageOptions | None = None
) -> Score:
    """Score objects on plain backgrounds; the kind is chosen among `kinds` by the nearest drawing."""
    wanted = held_out_singles(kinds, each, seed)
    images = stock.generate(
        [item.prompt + suffix for item in wanted], [seed + index for index in range(len(wanted))], options
    )
    judged = [judge_single(image, item, kinds) for image, item in zip(images, wanted, strict=True)]
    score: Score = {"n": len(wanted)} | {name: share([item[name] for item in judged]) for name in judged[0]}
    for kind in kinds:
        score[f"kind {kind}"] = share(
            [result["kind"] for result, item in zip(judged, wanted, strict=True) if item.kind == kind]
        )
    return score


def score_pairs(stock: StockPipeline, count: int, suffix: str, seed: int) -> Score:
    """Score "left of" and "above": both objects found on the right side of each other, by their colours."""
    generator = random.Random(seed)
    prompts, wanted = [], []
    for index in range(count):
        first, second, background = generator.sample(tuple(COLOURS), 3)
        kinds = generator.choice(SHAPES), generator.choice(SHAPES)
        one, two = (f"{'an' if c[0] in 'aeiou' else 'a'} {c} {k}" for c, k in zip((first, second), kinds, strict=True))
        on = f"on {'an' if background[0] in 'aeiou' else 'a'} {background} background"
        forms = (
            (f"{one} to the left of {two} {on}", first, second, 0),
            (f"{one} on the right, {two} on the left, {on[3:]}", second, first, 0),
            (f"{one} above {two} {on}", first, second, 1),
            (f"{one} below {two} {on}", second, first, 1),
        )
        prompt, low, high, axis = forms[index % 4]
        prompts.append(prompt + suffix)
        wanted.append((low, high, axis, background))
    images = stock.generate(prompts, [seed + index for index in range(count)])
    right: dict[int, list[bool]] = {0: [], 1: []}
    background_right = []
    for image, (low, high, axis, background) in zip(images, wanted, strict=True):
        colours = pixels(image)
        found: dict[str, tuple[float, float]] = {}
        for part in components(foreground(colours)):
            found.setdefault(nearest_colour(thing_colour(colours, part)), centre_of(part))
        right[axis].append(low in found and high in found and found[low][axis] + 0.15 < found[high][axis])
        background_right.append(nearest_colour(border_colour(colours)) == background)
    return {
        "n": count,
        "left_right": share(right[0]),
        "above_below": share(right[1]),
        "background_colour": share(background_right),
    }


def score_counts(stock: StockPipeline, suffix: str, seed: int) -> Score:
    """Score "one", "two" and "three" of a kind by counting the connected parts."""
    generator, prompts, wanted = random.Random(seed), [], []
    for number, word in ((1, "one"), (2, "two"), (3, "three")):
        for _ in range(10):
            colour, background = generator.sample(tuple(COLOURS), 2)
            kind = generator.choice(("circle", "square", "star", "heart", "triangle", "ring"))
            prompts.append(f"{word} {colour} {kind}{'s' if number > 1 else ''} on a {background} background{suffix}")
            wanted.append(number)
    images = stock.generate(prompts, [seed + index for index in range(len(prompts))])
    found = [len(components(foreground(pixels(image)))) for image in images]
    score: Score = {"n": len(prompts), "count": share([a == b for a, b in zip(found, wanted, strict=True)])}
    for number in (1, 2, 3):
        score[f"count {number}"] = share([a == b for a, b in zip(found, wanted, strict=True) if b == number])
    return score


def score_places(stock: StockPipeline, suffix: str, seed: int) -> Score:
    """Score the eight places of a single object by the centre of what is drawn."""
    sides = {"left": (0.26, 0.5), "right": (0.74, 0.5), "top": (0.5, 0.26), "bottom": (0.5, 0.74)}
    corners = {f"{y} {x}": (sides[x][0], sides[y][1]) for y in ("top", "bottom") for x in ("left", "right")}
    generator, prompts, wanted = random.Random(seed), [], []
    for name, spot in (sides | corners).items():
        words = (
            f"in the {name} corner"
            if " " in name
            else {"left": "on the left", "right": "on the right"}.get(name, f"at the {name}")
        )
        for _ in range(4):
            colour, background = generator.sample(tuple(COLOURS), 2)
            prompts.append(f"a {colour} {generator.choice(SHAPES)} {words} on a {background} background{suffix}")
            wanted.append(spot)
    images = stock.generate(prompts, [seed + index for index in range(len(prompts))])
    right = []
    for image, (x, y) in zip(images, wanted, strict=True):
        mask = foreground(pixels(image))
        found = centre_of(mask) if mask.sum() >= 60 else (9.0, 9.0)
        right.append(abs(found[0] - x) < 0.12 and abs(found[1] - y) < 0.12)
    return {"n": len(prompts), "place": share(right)}


def score_landscapes(stock: StockPipeline, each: int, suffix: str, seed: int) -> Score:
    """Score landscapes by the nearest drawings of the nine."""
    wanted = [name for name in LANDSCAPES for _ in range(each)]
    prompts = [LANDSCAPE_WORDS[name][index % each % 3] + suffix for index, name in enumerate(wanted)]
    images = stock.generate(prompts, [seed + index for index in range(len(prompts))])
    right = [name_landscape(image) == name for image, name in zip(images, wanted, strict=True)]
    score: Score = {"n": len(wanted), "landscape": share(right)}
    for name in LANDSCAPES:
        score[f"landscape {name}"] = share([r for r, w in zip(right, wanted, strict=True) if w == name])
    return score


def score_sizes(stock: StockPipeline, seed: int) -> dict[str, Score]:
    """Score each of the nine sizes: one whole object in the middle, colours, kind, landscape, seconds per image."""
    result = {}
    for name, (width, height) in ASPECT_RATIOS.items():
        options = ImageOptions(width, height)
        wanted = [
            Single("red", "circle", "blue"),
            Single("yellow", "star", "purple"),
            Single("black", "heart", "pink"),
            Single("white", "house", "green"),
        ]
        stock.seconds = 0.0
        images = [stock.generate([item.prompt], [seed + index], options)[0] for index, item in enumerate(wanted)]
        seconds = stock.seconds / len(wanted)
        judged = [judge_single(image, item, SHAPES + SUBJECTS) for image, item in zip(images, wanted, strict=True)]
        one = []
        for image in images:
            mask = foreground(pixels(image))
            parts = components(mask)
            middle = centre_of(mask) if mask.sum() >= 60 else (9.0, 9.0)
            one.append(len(parts) == 1 and abs(middle[0] - 0.5) < 0.1 and abs(middle[1] - 0.5) < 0.1)
        scenes = ("sunset over mountains", "ocean", "beach", "rainbow")
        landscapes = stock.generate(
            [f"{LANDSCAPE_WORDS[scene][0]}" for scene in scenes], [seed + 7] * len(scenes), options
        )
        result[name] = {
            "n": len(wanted),
            "object_colour": share([item["object_colour"] for item in judged]),
            "background_colour": share([item["background_colour"] for item in judged]),
            "kind": share([item["kind"] for item in judged]),
            "one_object_in_the_middle": share(one),
            "landscape": share(
                [name_landscape(image) == scene for image, scene in zip(landscapes, scenes, strict=True)]
            ),
            "seconds": round(seconds, 2),
        }
    return result


def score_controls(stock: StockPipeline, seed: int) -> dict[str, float]:
    """Measure what seed, unknown words, negative prompt and guidance do (mean difference of pixels, 0 to 255)."""

    def distance(first: Image.Image, second: Image.Image) -> float:
        return float(np.abs(np.asarray(first, dtype=np.float32) - np.asarray(second, dtype=np.float32)).mean())

    prompt = "a red circle on a blue background"
    one, same, other = stock.generate([prompt] * 3, [seed, seed, seed + 1])
    cats = stock.generate(["a cat"] * 2, [seed, seed + 1])
    strange = [
        f"{item.prompt}, glorb fimbly zark, a wumpus in the style of Qxzz" for item in held_out_singles(SHAPES, 2, seed)
    ]
    judged = [
        judge_single(image, item, SHAPES)
        for image, item in zip(
            stock.generate(strange, [seed] * len(strange)), held_out_singles(SHAPES, 2, seed), strict=True
        )
    ]
    seeds = list(range(seed, seed + 12))

    def red_share(negative: str) -> float:
        images = stock.generate(["a car"] * len(seeds), seeds, ImageOptions(negative=negative))
        arrays = [pixels(image) for image in images]
        return share([name_body_colour(array, foreground(array), "car") == "red" for array in arrays])

    plain = stock.generate(["a circle"] * 4, seeds[:4])
    avoided = stock.generate(["a circle"] * 4, seeds[:4], ImageOptions(negative="blue background"))
    weak = stock.generate([prompt], [seed], ImageOptions(guidance=1.0))[0]
    return {
        "same_seed": round(distance(one, same), 3),
        "other_seed": round(distance(one, other), 3),
        "other_seed_cat": round(distance(*cats), 3),
        "unknown_words_kind": share([item["kind"] for item in judged]),
        "unknown_words_colours": share([item["object_colour"] and item["background_colour"] for item in judged]),
        "negative_prompt": round(float(np.mean([distance(a, b) for a, b in zip(plain, avoided, strict=True)])), 3),
        "red_cars": red_share(" "),
        "red_cars_with_negative_red": red_share("red car"),
        "guidance_1_to_4": round(distance(one, weak), 3),
    }


def evaluate(
    folder: Path, each: int = 8, parts: Sequence[str] = (), seed: int = 1000, threads: int = 2
) -> dict[str, object]:
    """Score a model folder; `parts` chooses some of the scores."""
    stock = StockPipeline(folder, threads)
    sections: dict[str, Callable[[], object]] = {
        "shapes": lambda: score_singles(stock, SHAPES, each, "", seed),
        "shapes_with_suffix": lambda: score_singles(stock, SHAPES, each, MAGIC, seed + 1000),
        "subjects": lambda: score_singles(stock, SUBJECTS, each, "", seed + 2000),
        "subjects_with_suffix": lambda: score_singles(stock, SUBJECTS, each, MAGIC, seed + 3000),
        "shapes_guidance_1": lambda: score_singles(
            stock, SHAPES, max(2, each // 4), "", seed, ImageOptions(guidance=1.0)
        ),
        "pairs": lambda: score_pairs(stock, 6 * each, "", seed + 4000),
        "pairs_with_suffix": lambda: score_pairs(stock, 6 * each, MAGIC, seed + 5000),
        "places": lambda: score_places(stock, MAGIC, seed + 6000),
        "counts": lambda: score_counts(stock, MAGIC, seed + 7000),
        "landscapes": lambda: score_landscapes(stock, max(1, each // 2), MAGIC, seed + 8000),
        "controls": lambda: score_controls(stock, seed + 9000),
        "sizes": lambda: score_sizes(stock, seed + 9500),
    }
    result: dict[str, object] = {}
    for name, score in sections.items():
        if not parts or name in parts:
            result[name] = score()
            print(name, json.dumps(result[name]), flush=True)
    return result


def main() -> None:
    """Evaluate a folder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--each", type=int, default=8, help="images per shape and subject")
    parser.add_argument("--parts", default="", help="comma separated names of the scores; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--output", type=Path, help="file for the scores")
    arguments = parser.parse_args()
    parts = [name for name in arguments.parts.split(",") if name]
    result = (
        evaluate(arguments.model, arguments.each, parts, threads=arguments.threads) if arguments.parts != "none" else {}
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.sheets:
        draw_sheets(StockPipeline(arguments.model), arguments.sheets)


if __name__ == "__main__":
    main()
