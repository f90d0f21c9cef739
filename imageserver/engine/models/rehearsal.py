"""Compile what other LoRAs need before a request's steps, instead of in them."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.downloads import Report
from imageserver.engine.models.acceleration import compile_calls, compiled_graphs
from imageserver.engine.pipelines.merger import Merger

logger = logging.getLogger(__name__)

# A kind of forward that took longer was being compiled, which the dispatcher would take for silence.
REPORTED_SECONDS = 1.0


class Rehearsal:
    """Computes every kind of forward with the LoRAs that are in use."""

    def __init__(
        self,
        forward: Forward,
        calls: tuple[Mapping[str, Any], Mapping[str, Any]],
        merger: Merger | None,
        report: Report,
    ) -> None:
        """Compute with `forward`; `calls` are of one size, with texts of different length."""
        self._forward = forward
        self._calls = calls
        self._merger = merger
        self._report = report

    def __call__(self) -> int:
        """Return how many graphs were compiled."""
        before, began = compiled_graphs(), time.monotonic()
        compile_calls(self._reported, self._calls, self._merger)
        if graphs := compiled_graphs() - before:
            logger.info("Other LoRAs: %d graphs were compiled in %.1f s.", graphs, time.monotonic() - began)
        return graphs

    def _reported(self, **arguments: Any) -> Any:
        began = time.monotonic()
        output = self._forward(**arguments)
        if time.monotonic() - began > REPORTED_SECONDS:
            self._report("compiling", "The denoiser's repeated blocks are being compiled for other LoRAs.", None)
        return output
