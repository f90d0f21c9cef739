"""The seeds of the images in a folder, by which a test counts what was saved."""

import collections
import re
from pathlib import Path

from imageserver.imaging.metadata import read_metadata

SEED = re.compile(r"Seed: (\d+)")


def saved_seeds(folder: Path) -> collections.Counter[int]:
    """Return how many images of each seed are in the folder."""
    parameters = [read_metadata(file.read_bytes())["parameters"] for file in folder.glob("*.png")]
    return collections.Counter(int(seed) for text in parameters for seed in SEED.findall(text))
