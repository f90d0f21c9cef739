"""The named image sizes, in pixels.

Source: the sizes of the Qwen-Image model card, plus a 512 x 512 square for quick images, with the alias m1:1.
"""

ASPECT_RATIOS: dict[str, tuple[int, int]] = {
    "s1:1": (512, 512),
    "m1:1": (512, 512),
    "1:1": (1328, 1328),
    "16:9": (1664, 928),
    "9:16": (928, 1664),
    "4:3": (1472, 1140),
    "3:4": (1140, 1472),
    "3:2": (1584, 1056),
    "2:3": (1056, 1584),
}

DEFAULT_ASPECT_RATIO = "s1:1"


def size_of(name: str) -> tuple[int, int]:
    """Return (width, height) in pixels of a named aspect ratio; raises KeyError for an unknown name."""
    return ASPECT_RATIOS[name]
