"""Predict how long a generation keeps the device busy, learning from earlier ones.

Per model, image size and with guidance or without: seconds = fixed + denoiser calls x seconds per call, a weighted
least-squares fit to the measurements, in which recent jobs weigh more. The fixed part is the text encoder and the
decoder. Calls with guidance cost less, where two of them share a forward.
"""

import statistics
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from imageserver.dispatch.estimates.caption_costs import CaptionCosts
from imageserver.generation import Generation
from imageserver.schedulers import calls_factor

# Until something has been measured: one megapixel call of a small model. Only ratios matter then.
INITIAL_SECONDS_PER_MEGAPIXEL_CALL = 0.05
# What the fixed part takes when all jobs so far had the same number of calls: as long as so many of them, a tenth of
# 20 guided steps. A share of each job instead made 50 steps look 10 times as long as they are after one of 1 step.
INITIAL_FIXED_CALLS = 4.0
# What smaller images than this cost is mostly not their pixels: on 2 CPU cores the demo model takes a 64x64 image
# through 40 steps in 1.0 s, 512x512 in 1.3 s and 1024x1024 in 3.2 s.
OVERHEAD_PIXELS = 512 * 512
DECAY = 0.9
MAX_ERRORS = 50
# Clients choose the sizes: of more than these, the one that was generated least recently is forgotten.
MAX_SIZES = 256
# Pixels, and whether with guidance.
Kind = tuple[int, bool]


@dataclass
class _Line:
    """The sums of a line fit, older points fading."""

    weight: float = 0.0
    calls: float = 0.0
    seconds: float = 0.0
    calls_squared: float = 0.0
    product: float = 0.0

    def add(self, calls: float, seconds: float) -> None:
        self.weight = self.weight * DECAY + 1
        self.calls = self.calls * DECAY + calls
        self.seconds = self.seconds * DECAY + seconds
        self.calls_squared = self.calls_squared * DECAY + calls * calls
        self.product = self.product * DECAY + calls * seconds

    def at(self, calls: float) -> float:
        """Return the expected seconds of an image with `calls` denoiser calls."""
        mean_calls, mean_seconds = self.calls / self.weight, self.seconds / self.weight
        spread = self.calls_squared / self.weight - mean_calls**2
        if spread > 0.01 * mean_calls**2:
            slope = (self.product / self.weight - mean_calls * mean_seconds) / spread
            slope = min(max(slope, 0.0), mean_seconds / mean_calls)
        else:
            slope = mean_seconds / (mean_calls + INITIAL_FIXED_CALLS)
        return mean_seconds + slope * (calls - mean_calls)


class CostModel:
    """Device seconds of generations."""

    def __init__(self) -> None:
        self._models: dict[str, OrderedDict[Kind, _Line]] = {}
        self._errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self._captions = CaptionCosts()

    @property
    def learnt(self) -> bool:
        return bool(self._models)

    @property
    def median_error(self) -> float | None:
        """The median of |expected - measured| / measured over the last jobs, None before the second one."""
        return statistics.median(self._errors) if self._errors else None

    def knows(self, model: str) -> bool:
        """Return whether a generation of that model has been measured."""
        return model in self._models

    def seconds(self, generation: Generation) -> float:
        """Return the expected device time of a generation; sizes not seen yet are scaled from the nearest one.

        With guidance not seen at that size, its calls are expected to cost as much as those without, and vice versa.
        Of a generation in two stages, every tile costs as much as an image.
        """
        if generation.caption:
            return self._captions.seconds(generation.model)
        if generation.upscale is not None:
            return sum(times * self.seconds(stage) for stage, times in generation.stages if times)
        (pixels, guided), calls = _kind(generation), _calls(generation)
        lines = self._models.get(generation.model)
        if not lines:
            return INITIAL_SECONDS_PER_MEGAPIXEL_CALL * pixels / 1e6 * calls * generation.count
        nearest = min(lines, key=lambda kind: (abs(kind[0] - pixels), kind[1] != guided))
        scale = max(pixels, OVERHEAD_PIXELS) / max(nearest[0], OVERHEAD_PIXELS)
        return lines[nearest].at(calls) * scale * generation.count

    def observe(self, generation: Generation, seconds: float) -> None:
        """Learn from a finished generation that kept the device for `seconds`."""
        if generation.caption:
            self._captions.observe(generation.model, seconds)
            return
        if generation.upscale is not None:
            # How its stages shared the time is not known: they are learnt from generations of one stage.
            return
        lines = self._models.setdefault(generation.model, OrderedDict())
        if lines and seconds > 0:
            self._errors.append(abs(self.seconds(generation) - seconds) / seconds)
        kind = _kind(generation)
        lines.setdefault(kind, _Line()).add(_calls(generation), seconds / generation.count)
        lines.move_to_end(kind)
        if len(lines) > MAX_SIZES:
            lines.popitem(last=False)


def cost_key(generation: Generation) -> Hashable:
    """Return what generations of the same expected cost have in common."""
    stages = tuple((_kind(stage), _calls(stage), times) for stage, times in generation.stages)
    return generation.model, generation.count, stages


def _kind(generation: Generation) -> Kind:
    return generation.width * generation.height, generation.true_cfg_scale > 1


def _calls(generation: Generation) -> int:
    guided = 2 if generation.true_cfg_scale > 1 else 1
    return generation.generated_steps * guided * calls_factor(generation.scheduler)
