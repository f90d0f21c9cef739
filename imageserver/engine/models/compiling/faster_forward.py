"""Use the compiled forward only where it is faster than the eager one; both are measured when a model is loaded."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from imageserver.engine.devices.batch_limits import MAX_FORWARD_SECONDS, PROBED_SIDES, Clock, Forward, seconds_of
from imageserver.engine.pipelines.merger import Merger

logger = logging.getLogger(__name__)

# A smaller gain is not worth what compiling costs at the next start.
MIN_GAIN = 1.10


class FasterForward:
    """Computes every call as was faster for the probed size that is nearest in tokens."""

    def __init__(self, compiled: Forward, eager: Forward, merger: Merger | None) -> None:
        self._compiled = compiled
        self._eager = eager
        self._merger = merger
        # Whether the compiled forward is faster, by tokens.
        self._faster: dict[int, bool] = {}
        self.compiled_sides: tuple[int, ...] = ()

    def __call__(self, **arguments: Any) -> Any:
        return (self._compiled if self._is_compiled(arguments) else self._eager)(**arguments)

    def measure(
        self, probe: Callable[[int], Mapping[str, Any]], max_pixels: int, clock: Clock = time.monotonic
    ) -> None:
        """Measure both forwards for every probed size; `probe(side)` gives the arguments of one call.

        Sizes that take seconds are left out, and treated as the largest measured one.
        """
        sides = [side for side in PROBED_SIDES if side * side <= max_pixels] or [int(max_pixels**0.5)]
        for side in sides:
            call = probe(side)
            compiled, eager = seconds_of(self._compiled, call, clock), seconds_of(self._eager, call, clock)
            faster = eager >= MIN_GAIN * compiled
            self._faster[self._tokens(call)] = faster
            if faster:
                self.compiled_sides += (side,)
            logger.info(
                "COMPILE=1: a %dx%d forward takes %.1f ms compiled and %.1f ms eager; %s.",
                *(side, side, 1000 * compiled, 1000 * eager),
                "it is compiled" if faster else "that is less than 10 % faster, so it stays eager",
            )
            if eager > MAX_FORWARD_SECONDS or self._merger is None:
                break

    def _is_compiled(self, arguments: Mapping[str, Any]) -> bool:
        if not self._faster:
            return True
        tokens = self._tokens(arguments)
        return self._faster[min(self._faster, key=lambda measured: abs(math.log(measured / tokens)))]

    def _tokens(self, call: Mapping[str, Any]) -> int:
        """Return the tokens of all images of a call; without a merger they are unknown, and one size stands for all."""
        return self._merger.batch_size(call) * self._merger.token_count(call) if self._merger else 1


def eagerly(forward: Forward) -> Forward:
    """Return a forward that computes compiled modules as they were before, and compiles nothing."""

    def compute(**arguments: Any) -> Any:
        with torch.compiler.set_stance("force_eager"):
            return forward(**arguments)

    return compute
