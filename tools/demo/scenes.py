"""What an image shows: scenes, how they are sampled, and which combinations of words training never sees."""

import random
import zlib
from dataclasses import dataclass

from tools.demo.vocabulary import (
    COLOURS,
    LANDSCAPES,
    NATURAL_COLOURS,
    PASTELS,
    PLACES,
    RADII,
    RGB,
    SHAPES,
    SUBJECTS,
)

HELD_OUT_SHARE = 0.12


@dataclass(frozen=True)
class Thing:
    """One object: what is drawn, and which of its attributes the caption tells."""

    kind: str
    colour: str
    rgb: RGB
    place: str
    size: str
    x: float
    y: float
    radius: float
    told: frozenset[str]


@dataclass(frozen=True)
class Scene:
    """A background (a plain colour or a landscape) with up to three objects on it."""

    landscape: str | None
    background: str | None
    background_rgb: RGB
    things: tuple[Thing, ...]
    relation: str
    seed: float


def is_held_out(colour: str, kind: str, background: str) -> bool:
    """Tell whether training must never show this colour, kind and background together."""
    return zlib.crc32(f"{colour} {kind} {background}".encode()) % 1000 < HELD_OUT_SHARE * 1000


def shade(generator: random.Random, colour: RGB, jitter: int = 6) -> RGB:
    """Return a slightly different shade of a colour."""
    red, green, blue = (max(0, min(255, value + generator.randint(-jitter, jitter))) for value in colour)
    return red, green, blue


def sample_scene(generator: random.Random) -> Scene:
    """Sample a scene whose combinations are all allowed in training."""
    while True:
        scene = _sample_any(generator)
        background = scene.landscape or scene.background or "pastel"
        if not any(is_held_out(thing.colour, thing.kind, background) for thing in scene.things):
            return scene


def _sample_any(generator: random.Random) -> Scene:
    count = generator.choices((0, 1, 2, 3), (0.12, 0.62, 0.21, 0.05))[0]
    landscape = background = None
    told_background = generator.random()
    if (count == 0 and told_background < 0.93) or (count == 1 and told_background < 0.16):
        landscape = generator.choice(LANDSCAPES)
        background_rgb: RGB = (120, 150, 180)
    elif told_background < 0.78 or count == 0:
        background = generator.choice(tuple(COLOURS))
        background_rgb = shade(generator, COLOURS[background])
    else:
        background_rgb = shade(generator, generator.choice(PASTELS), 5)
    taken = {background or ("white" if landscape is None else "")}
    relation = {0: "none", 1: "single", 2: generator.choice(("row", "row", "column")), 3: "row"}[count]
    same = (count == 3 and generator.random() < 0.8) or (count == 2 and generator.random() < 0.3)
    things: list[Thing] = []
    for index in range(count):
        twin = things[0] if same and things else None
        things.append(_sample_thing(generator, taken, count, relation, index, landscape is not None, twin))
    return Scene(landscape, background, background_rgb, tuple(things), relation, generator.random())


def _sample_thing(
    generator: random.Random,
    taken: set[str],
    count: int,
    relation: str,
    index: int,
    on_landscape: bool,
    twin: Thing | None,
) -> Thing:
    told = {"kind"}
    if twin:
        kind, size, colour, told = twin.kind, twin.size, twin.colour, set(twin.told)
    else:
        kind = generator.choice(SHAPES if generator.random() < 0.5 else SUBJECTS)
        if generator.random() < (0.88 if kind in SHAPES else 0.6):
            told.add("colour")
        natural = tuple(COLOURS) if "colour" in told or kind in SHAPES else NATURAL_COLOURS[kind]
        allowed = [name for name in natural if name not in taken] or [name for name in COLOURS if name not in taken]
        colour = generator.choice(allowed)
        size = generator.choices(("small", "medium", "large"), (0.15, 0.65, 0.2))[0]
        if size != "medium" or generator.random() < 0.08:
            told.add("size")
    if relation == "single":
        place = "centre" if generator.random() < 0.72 else generator.choice(tuple(PLACES))
        if place != "centre" or generator.random() < 0.15:
            told.add("place")
        x, y = PLACES[place]
    else:
        spots = {"row2": ("left", "right"), "column2": ("top", "bottom"), "row3": ("left", "centre", "right")}[
            f"{relation}{count}"
        ]
        place = spots[index]
        told.add("place")
        x, y = PLACES[place]
        if count == 3:
            x = (0.19, 0.5, 0.81)[index]
    spot = "three" if count == 3 else "corner" if " " in place else "centre" if place == "centre" else "side"
    radius = RADII[spot][size]
    if on_landscape and place == "centre" and kind not in ("sun", "crescent", "star"):
        y = 0.56
    x, y = x + generator.uniform(-0.012, 0.012), y + generator.uniform(-0.012, 0.012)
    radius *= generator.uniform(0.97, 1.03)
    return Thing(kind, colour, shade(generator, COLOURS[colour]), place, size, x, y, radius, frozenset(told))
