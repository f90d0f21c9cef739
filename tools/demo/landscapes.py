"""Draw the nine landscapes: one horizon at a fixed share of the height, and the sun or moon always on one side.

A sun now left, now right is drawn on both sides by a small model: guidance mixes the two.
"""

import math
from random import Random

from tools.demo.drawing import Canvas, mix
from tools.demo.scenes import shade
from tools.demo.vocabulary import COLOURS, RGB

DAY: tuple[RGB, RGB] = ((105, 175, 240), (205, 230, 250))


def _ground(canvas: Canvas, top: float, fill: RGB) -> None:
    canvas.area([(-0.1, top), (1.1, top), (1.1, 1.1), (-0.1, 1.1)], fill)


def _wave(canvas: Canvas, top: float, swing: float, phase: float, fill: RGB) -> None:
    line = [(i / 24, top + swing * math.sin(phase + i / 24 * 6)) for i in range(-1, 26)]
    canvas.area([*line, (1.1, 1.1), (-0.1, 1.1)], fill)


def _ridge(
    canvas: Canvas, base: float, height: float, peaks: int, fill: RGB, random: Random, snow: RGB | None = None
) -> None:
    for index in range(peaks):
        middle = (index + 0.5) / peaks + random.uniform(-0.03, 0.03)
        half, peak = 0.85 / peaks, base - height * random.uniform(0.9, 1.1)
        canvas.area([(middle - half, base + 0.01), (middle, peak), (middle + half, base + 0.01)], fill)
        if snow:
            drop, cap = (base - peak) * 0.36, half * 0.36
            canvas.area(
                [(middle, peak), (middle - cap, peak + drop), (middle, peak + drop * 0.7), (middle + cap, peak + drop)],
                snow,
            )
    _ground(canvas, base, fill)


def _sunset(canvas: Canvas, random: Random) -> None:
    sky = [shade(random, colour) for colour in ((95, 50, 120), (230, 95, 90), (255, 190, 90))]
    canvas.fade(sky, 0, 0.75)
    _ground(canvas, 0.74, sky[2])
    canvas.disc(random.uniform(0.42, 0.58), 0.47, 0.13, (255, 232, 130))
    _ridge(canvas, 0.78, 0.28, 3, shade(random, (120, 60, 100)), random)
    _ridge(canvas, 0.96, 0.2, 3, shade(random, (65, 32, 72)), random)


def _snowy(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, colour) for colour in DAY])
    _ridge(canvas, 0.82, 0.55, 3, shade(random, (95, 115, 150)), random, (248, 250, 255))
    _ground(canvas, 0.82, shade(random, (238, 243, 250), 4))


def _ocean(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, colour) for colour in DAY], 0, 0.45)
    canvas.fade([shade(random, (55, 150, 210)), shade(random, (15, 65, 145))], 0.45, 1)
    for row, y in enumerate((0.56, 0.7, 0.86)):
        x = random.uniform(0.4, 0.6)
        for shift in (-0.4, 0.1):
            left = (x + shift + 0.2 * row) % 1 - 0.1
            canvas.area([(left, y), (left + 0.2, y), (left + 0.17, y + 0.03), (left + 0.03, y + 0.03)], (165, 215, 240))


def _beach(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, colour) for colour in DAY], 0, 0.45)
    canvas.disc(random.uniform(0.77, 0.83), 0.17, 0.1, (255, 225, 90))
    _ground(canvas, 0.45, shade(random, (40, 145, 200)))
    canvas.area([(-0.1, 0.72), (1.1, 0.64), (1.1, 1.1), (-0.1, 1.1)], (235, 245, 250))
    canvas.area([(-0.1, 0.75), (1.1, 0.67), (1.1, 1.1), (-0.1, 1.1)], shade(random, (242, 214, 150)))


def _night(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, (12, 14, 45)), shade(random, (48, 46, 108))])
    for index in range(14):
        x, y = (index % 5 + random.uniform(0.3, 0.7)) / 5, (index // 5 + random.uniform(0.3, 0.7)) / 3
        canvas.disc(x, y, 0.018, (255, 250, 220))
    x, y = random.uniform(0.67, 0.73), random.uniform(0.28, 0.32)
    canvas.disc(x, y, 0.15, (250, 240, 190))
    canvas.disc(x + 0.075 * min(canvas.width, canvas.height) / canvas.width, y - 0.02, 0.12, (22, 23, 62))


def _desert(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, (110, 180, 235)), shade(random, (250, 225, 175))], 0, 0.65)
    canvas.disc(random.uniform(0.75, 0.81), 0.2, 0.11, (255, 240, 150))
    for top, fill in ((0.56, (238, 190, 110)), (0.71, (222, 160, 85)), (0.86, (200, 135, 70))):
        _wave(canvas, top, 0.045, random.uniform(0, 2), shade(random, fill))


def _forest(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, (175, 218, 235)), shade(random, (225, 240, 222))])
    _ground(canvas, 0.8, shade(random, (90, 150, 75)))
    narrow = min(canvas.width, canvas.height) / canvas.width
    for base, size, fill in ((0.84, 0.2, (75, 145, 95)), (0.96, 0.26, (28, 92, 55))):
        x = random.uniform(0, 0.15)
        while x < 1.08:
            half = size * 0.62 * narrow
            canvas.area(
                [
                    (x - half * 0.16, base - 0.08),
                    (x + half * 0.16, base - 0.08),
                    (x + half * 0.16, base),
                    (x - half * 0.16, base),
                ],
                (100, 65, 40),
            )
            for level in range(2):
                low = base - 0.06 - size * 0.8 * level
                spread = half * (1 - 0.2 * level)
                canvas.area([(x - spread, low), (x + spread, low), (x, low - size * 1.25)], fill)
            x += half * random.uniform(2.1, 2.3)


def _rainbow(canvas: Canvas, random: Random) -> None:
    sky = [shade(random, colour) for colour in DAY]
    canvas.fade(sky)
    x = random.uniform(0.48, 0.52)
    for index, name in enumerate(("red", "orange", "yellow", "green", "blue", "purple")):
        canvas.disc(x, 0.78, 0.62 - 0.055 * index, COLOURS[name])
    canvas.disc(x, 0.78, 0.29, mix(sky[0], sky[1], 0.6))
    meadow = shade(random, (95, 175, 80))
    _wave(canvas, 0.7, 0.03, random.uniform(0, 2), meadow)
    _wave(canvas, 0.86, 0.03, random.uniform(0, 2), mix(meadow, (30, 90, 30), 0.35))


def _city(canvas: Canvas, random: Random) -> None:
    canvas.fade([shade(random, (22, 20, 62)), shade(random, (120, 65, 125))])
    canvas.disc(random.uniform(0.77, 0.83), 0.16, 0.07, (250, 240, 200))
    x, narrow = random.uniform(-0.06, 0), min(canvas.width, canvas.height) / canvas.width
    while x < 1:
        wide = 0.2 * narrow
        top = random.uniform(0.34, 0.62)
        canvas.area([(x, top), (x + wide, top), (x + wide, 1.1), (x, 1.1)], shade(random, (28, 30, 52), 5))
        pane = wide * 0.26
        for row in range(int((0.98 - top) / 0.11)):
            for column in (0.16, 0.58):
                if random.random() < 0.85:
                    left, high = x + wide * column, top + 0.05 + 0.11 * row
                    canvas.area(
                        [(left, high), (left + pane, high), (left + pane, high + 0.055), (left, high + 0.055)],
                        (255, 215, 110),
                    )
        x += wide + 0.012


PAINTERS = {
    "sunset over mountains": _sunset,
    "snowy mountains": _snowy,
    "ocean": _ocean,
    "beach": _beach,
    "night sky": _night,
    "desert": _desert,
    "forest": _forest,
    "rainbow": _rainbow,
    "city at night": _city,
}


def draw_landscape(canvas: Canvas, name: str, random: Random) -> None:
    """Draw a landscape over the whole canvas; the random generator decides its details."""
    PAINTERS[name](canvas, random)
