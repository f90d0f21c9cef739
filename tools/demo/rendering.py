"""Render a whole scene, or a window of it, at any size."""

import random

from PIL import Image

from tools.demo.drawing import Canvas, draw_thing
from tools.demo.landscapes import draw_landscape
from tools.demo.scenes import Scene


def render(
    scene: Scene, width: int, height: int, window: tuple[int, int, int, int] | None = None, scale: int = 2
) -> Image.Image:
    """Render a scene, or a window (left, top, width, height) of it, supersampled `scale` times."""
    canvas = Canvas(width, height, window, scale)
    if scene.landscape:
        draw_landscape(canvas, scene.landscape, random.Random(scene.seed))
    else:
        canvas.image.paste(scene.background_rgb, (0, 0, *canvas.image.size))
    for thing in scene.things:
        draw_thing(canvas, thing)
    return canvas.image.reduce(scale) if scale > 1 else canvas.image
