"""Compile every kind of forward before clients come, and what other LoRAs need before a request's steps."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.downloads import Report
from imageserver.engine.models.compiling.recompilations import compiled_graphs
from imageserver.engine.pipelines.merger import Merger

logger = logging.getLogger(__name__)

# A kind of forward that took longer was being compiled, which the dispatcher would take for silence.
REPORTED_SECONDS = 1.0


def compile_calls(forward: Forward, calls: tuple[Mapping[str, Any], Mapping[str, Any]], merger: Merger | None) -> None:
    """Compute every kind of forward that clients cause, so that none is compiled while they wait.

    `calls` are of one size, with texts of different length. On an H100 the first merged forward took 18 s and the first
    one with a mask 20 s; other sizes and batches compile nothing more.
    """
    for call in calls:
        forward(**call)
    if merger is not None:
        forward(**merger.merge([calls[0], calls[0]]))
        forward(**merger.merge(calls))


class Rehearsal:
    """Computes every kind of forward with the LoRAs that are in use."""

    def __init__(
        self,
        forward: Forward,
        calls: tuple[Mapping[str, Any], Mapping[str, Any]],
        merger: Merger | None,
        report: Report,
        count_graphs: Callable[[int], None],
    ) -> None:
        """Compute with `forward`; `calls` are of one size, with texts of different length.

        `count_graphs` is called with the number of those that were compiled, also before an error.
        """
        self._forward = forward
        self._calls = calls
        self._merger = merger
        self._report = report
        self._count_graphs = count_graphs

    def __call__(self) -> None:
        before, began = compiled_graphs(), time.monotonic()
        try:
            compile_calls(self._reported, self._calls, self._merger)
        finally:
            if graphs := compiled_graphs() - before:
                self._count_graphs(graphs)
                logger.info("Other LoRAs: %d graphs were compiled in %.1f s.", graphs, time.monotonic() - began)

    def _reported(self, **arguments: Any) -> Any:
        began = time.monotonic()
        output = self._forward(**arguments)
        if time.monotonic() - began > REPORTED_SECONDS:
            self._report("compiling", "The denoiser's repeated blocks are being compiled for other LoRAs.", None)
        return output
