"""Seeded requests and arrival times; no image comes twice, so that no cache can answer."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black", "brown", "pink")
THINGS = ("circle", "square", "triangle", "star", "ring", "cross", "house", "tree", "heart", "moon")


@dataclass(frozen=True)
class ImageRequest:
    """The parameters of one requested image."""

    prompt: str
    seed: int
    steps: int
    side: int = 512
    true_cfg_scale: float = 1.0

    def body(self) -> dict[str, Any]:
        """Return the JSON body; all servers understand the fields of our native API."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "num_inference_steps": self.steps,
            "width": self.side,
            "height": self.side,
            "true_cfg_scale": self.true_cfg_scale,
            "positive_magic": False,
        }


class RequestSource:
    """Generates image_requests; two with the same seed give the same sequence."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = itertools.count(seed * 1_000_000)

    def next(self, steps: tuple[int, ...], side: int = 512, true_cfg_scale: float = 1.0) -> ImageRequest:
        """Return the next request; its steps are one of `steps`."""
        pick = self._random.choice
        prompt = f"a {pick(COLOURS)} {pick(THINGS)} beside a {pick(COLOURS)} {pick(THINGS)} on {pick(COLOURS)} ground"
        return ImageRequest(prompt, next(self._seeds), pick(steps), side, true_cfg_scale)

    def endless(self, steps: tuple[int, ...], side: int = 512) -> Iterator[ImageRequest]:
        """Return image_requests without end."""
        while True:
            yield self.next(steps, side)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the moments, in seconds from 0, at which a Poisson stream of `rate` per second arrives."""
    source = random.Random(seed)
    arrivals, moment = [], source.expovariate(rate)
    while moment < seconds:
        arrivals.append(moment)
        moment += source.expovariate(rate)
    return arrivals
