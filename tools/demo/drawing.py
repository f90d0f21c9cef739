"""Draw objects with Pillow: bold shapes and subjects that survive a 32 x 32 thumbnail."""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from tools.demo.scenes import Thing
from tools.demo.vocabulary import RGB

Point = tuple[float, float]
INK: RGB = (25, 25, 28)
PAPER: RGB = (248, 248, 246)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blend two colours; `share` is the part of the second one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """A window of a width x height image, drawn `scale` times as large."""

    def __init__(self, width: int, height: int, window: tuple[int, int, int, int] | None, scale: int) -> None:
        self.width, self.height, self.scale = width, height, scale
        self.left, self.top, window_width, window_height = window or (0, 0, width, height)
        self.image = Image.new("RGB", (window_width * scale, window_height * scale))
        self.draw = ImageDraw.Draw(self.image)
        self.unit = min(width, height) * scale
        self.centre: Point = (0.0, 0.0)
        self.radius = 1.0

    def place(self, x: float, y: float, radius: float) -> None:
        """Make (x, y), in shares of the image, the origin of the object's own coordinates."""
        self.centre, self.radius = self.to_pixels(x, y), radius * self.unit

    def to_pixels(self, x: float, y: float) -> Point:
        """Convert shares of the image to pixels of the window."""
        return (x * self.width - self.left) * self.scale, (y * self.height - self.top) * self.scale

    def point(self, x: float, y: float) -> Point:
        """Convert the object's coordinates to pixels of the window."""
        return self.centre[0] + x * self.radius, self.centre[1] + y * self.radius

    def polygon(self, points: Sequence[Point], fill: RGB) -> None:
        """Fill a polygon in the object's coordinates."""
        self.draw.polygon([self.point(*point) for point in points], fill=fill)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, fill: RGB) -> None:
        """Fill an ellipse in the object's coordinates."""
        self.draw.ellipse([*self.point(x - radius_x, y - radius_y), *self.point(x + radius_x, y + radius_y)], fill=fill)

    def circle(self, x: float, y: float, radius: float, fill: RGB) -> None:
        """Fill a circle in the object's coordinates."""
        self.ellipse(x, y, radius, radius, fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        """Fill a rectangle in the object's coordinates."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def area(self, points: Sequence[Point], fill: RGB) -> None:
        """Fill a polygon given in shares of the image."""
        self.draw.polygon([self.to_pixels(*point) for point in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: RGB) -> None:
        """Fill a circle at a share of the image; the radius is a share of its short side."""
        (x, y), radius = self.to_pixels(x, y), radius * self.unit
        self.draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)

    def fade(self, colours: Sequence[RGB], top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill the rows between two heights with a vertical gradient."""
        first, last = (int((y * self.height - self.top) * self.scale) for y in (top, bottom))
        column = Image.new("RGB", (1, len(colours)))
        column.putdata(list(colours))
        steps = Image.new("RGB", (1, 64))
        for index in range(64):
            position = index / 63 * (len(colours) - 1)
            step = min(int(position), len(colours) - 2)
            steps.putpixel((0, index), mix(colours[step], colours[step + 1], position - step))
        low, high = max(0, first), min(self.image.height, last)
        if high > low:
            rows = steps.resize((1, last - first), Image.Resampling.BILINEAR).crop((0, low - first, 1, high - first))
            self.image.paste(rows.resize((self.image.width, high - low), Image.Resampling.NEAREST), (0, low))
            self.draw = ImageDraw.Draw(self.image)


def regular(count: int, radius: float = 1.0, start: float = -math.pi / 2) -> list[Point]:
    """Return the corners of a regular polygon."""
    angles = [start + 2 * math.pi * index / count for index in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


STAR = [
    point for pair in zip(regular(5, 1.08), regular(5, 0.46, -math.pi / 2 + math.pi / 5), strict=True) for point in pair
]
HEART = [
    (
        16 * math.sin(t) ** 3 / 16.5,
        -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2.5) / 15.5,
    )
    for t in (math.pi * index / 30 for index in range(60))
]


def _crescent() -> list[Point]:
    """Return a disc without a smaller one, as one outline (so the background shows through)."""
    tips, shift = 1.0, 0.5
    outer = [
        (math.cos(angle), math.sin(angle)) for angle in (tips + (2 * math.pi - 2 * tips) * i / 40 for i in range(41))
    ]
    end_x, end_y = outer[0]
    inner_radius, opening = math.hypot(end_x - shift, end_y), math.atan2(end_y, end_x - shift)
    arc = (-opening - (2 * math.pi - 2 * opening) * i / 40 for i in range(41))
    inner = [(shift + inner_radius * math.cos(angle), inner_radius * math.sin(angle)) for angle in arc]
    return [(x + 0.15, y) for x, y in outer + inner]


CRESCENT = _crescent()
CIRCLE = regular(72)
RING = [*CIRCLE, CIRCLE[0], *[(0.52 * x, 0.52 * y) for x, y in reversed([*CIRCLE, CIRCLE[0]])]]
ARM = 0.34
CROSS = [
    (-ARM, -1),
    (ARM, -1),
    (ARM, -ARM),
    (1, -ARM),
    (1, ARM),
    (ARM, ARM),
    (ARM, 1),
    (-ARM, 1),
    (-ARM, ARM),
    (-1, ARM),
    (-1, -ARM),
    (-ARM, -ARM),
]
OUTLINES: dict[str, list[Point]] = {
    "circle": CIRCLE,
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1), (1.08, 0.85), (-1.08, 0.85)],
    "star": STAR,
    "heart": HEART,
    "crescent": CRESCENT,
    "ring": RING,
    "cross": CROSS,
}


def _cat(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    ink = PAPER if sum(fill) < 150 else INK
    for side in (-1, 1):
        c.polygon([(side * 0.9, -1.05), (side * 0.08, -0.6), (side * 0.85, 0.2)], fill)
        c.polygon([(side * 0.78, -0.78), (side * 0.4, -0.52), (side * 0.76, -0.2)], (240, 160, 170))
    c.ellipse(0, 0.15, 0.98, 0.82, fill)
    for side in (-1, 1):
        c.ellipse(side * 0.42, 0, 0.17, 0.23, ink)
    c.ellipse(0, 0.52, 0.44, 0.3, light)
    c.polygon([(-0.2, 0.3), (0.2, 0.3), (0, 0.54)], (225, 80, 110))


def _house(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.box(-0.8, -0.2, 0.8, 0.95, fill)
    c.polygon([(-1.1, -0.12), (0, -1.05), (1.1, -0.12)], dark)
    c.box(-0.52, 0.28, -0.08, 0.95, mix(dark, INK, 0.4))
    c.box(0.18, 0.12, 0.6, 0.52, (255, 244, 190))


def _tree(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.box(-0.17, 0.2, 0.17, 1.05, (110, 70, 40))
    c.circle(-0.42, 0, 0.46, fill)
    c.circle(0.42, 0, 0.46, fill)
    c.circle(0, -0.45, 0.58, fill)
    c.circle(0, 0.02, 0.5, fill)


def _boat(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.polygon([(-1.1, 0.4), (1.1, 0.4), (0.7, 0.95), (-0.7, 0.95)], fill)
    c.box(-0.07, -1.05, 0.07, 0.42, (95, 65, 40))
    c.polygon([(0.14, -0.95), (0.14, 0.26), (0.95, 0.26)], PAPER)
    c.polygon([(-0.14, -0.7), (-0.14, 0.26), (-0.75, 0.26)], (225, 230, 238))


def _flower(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.box(-0.08, 0.1, 0.08, 1.08, (60, 140, 60))
    c.ellipse(0.36, 0.75, 0.32, 0.15, (60, 140, 60))
    for x, y in regular(6, 0.46):
        c.circle(x, y - 0.32, 0.3, fill)
    c.circle(0, -0.32, 0.27, (250, 205, 60) if fill[2] > 110 or fill[1] < 150 else (130, 80, 40))


def _sun(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    for index in range(8):
        angle = math.pi / 4 * index
        c.polygon(
            [(r * math.cos(angle + d), r * math.sin(angle + d)) for r, d in ((0.6, -0.32), (1.12, 0), (0.6, 0.32))],
            fill,
        )
    c.circle(0, 0, 0.6, fill)


def _car(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.polygon([(-0.62, 0), (-0.42, -0.55), (0.38, -0.55), (0.7, 0)], fill)
    c.polygon([(-0.44, -0.02), (-0.31, -0.4), (-0.05, -0.4), (-0.05, -0.02)], (205, 232, 246))
    c.polygon([(0.08, -0.02), (0.08, -0.4), (0.29, -0.4), (0.5, -0.02)], (205, 232, 246))
    c.polygon([(-1.1, 0.45), (-1.1, 0.05), (-0.9, -0.06), (0.95, -0.06), (1.12, 0.12), (1.12, 0.45)], fill)
    for x in (-0.58, 0.6):
        c.circle(x, 0.45, 0.27, INK)
        c.circle(x, 0.45, 0.11, (200, 200, 205))


def _rocket(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.polygon([(-0.26, 0.6), (0.26, 0.6), (0, 1.15)], (250, 165, 35))
    for side in (-1, 1):
        c.polygon([(side * 0.25, 0.1), (side * 0.78, 0.78), (side * 0.25, 0.62)], dark)
    curve = [(0.4 * math.cos(t) ** 0.7, 0.1 - 1.2 * math.sin(t)) for t in (math.pi / 2 * i / 12 for i in range(13))]
    c.polygon([*curve, *[(-x, y) for x, y in reversed(curve)], (-0.3, 0.66), (0.3, 0.66)], fill)
    c.circle(0, -0.2, 0.2, (205, 232, 246))


def _fish(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    c.polygon([(0.45, 0), (1.12, -0.58), (1.12, 0.58)], dark)
    c.polygon([(-0.25, -0.4), (0.35, -0.82), (0.35, -0.3)], dark)
    c.ellipse(-0.18, 0, 0.9, 0.56, fill)
    c.circle(-0.6, -0.12, 0.19, PAPER)
    c.circle(-0.62, -0.12, 0.1, INK)


def _smiley(c: Canvas, fill: RGB, dark: RGB, light: RGB) -> None:
    ink = PAPER if sum(fill) < 150 else INK
    c.circle(0, 0, 1, fill)
    for side in (-1, 1):
        c.ellipse(side * 0.36, -0.26, 0.14, 0.2, ink)
    outer = [(0.64 * math.cos(t), 0.14 + 0.52 * math.sin(t)) for t in (math.pi * i / 20 for i in range(21))]
    inner = [(0.64 * math.cos(t), 0.14 + 0.24 * math.sin(t)) for t in (math.pi * i / 20 for i in range(20, -1, -1))]
    c.polygon([*outer, *inner], ink)


SUBJECT_PAINTERS: dict[str, Callable[[Canvas, RGB, RGB, RGB], None]] = {
    "cat": _cat,
    "house": _house,
    "tree": _tree,
    "boat": _boat,
    "flower": _flower,
    "sun": _sun,
    "car": _car,
    "rocket": _rocket,
    "fish": _fish,
    "smiley": _smiley,
}


def draw_thing(canvas: Canvas, thing: Thing) -> None:
    """Draw one object."""
    canvas.place(thing.x, thing.y, thing.radius)
    if thing.kind in OUTLINES:
        canvas.polygon(OUTLINES[thing.kind], thing.rgb)
    else:
        shadow = mix(thing.rgb, INK, 0.45) if sum(thing.rgb) > 150 else (95, 95, 105)
        SUBJECT_PAINTERS[thing.kind](canvas, thing.rgb, shadow, mix(thing.rgb, PAPER, 0.55))
