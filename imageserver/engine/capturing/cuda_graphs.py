"""Capture launches with PyTorch's own CUDA graphs. Source: PyTorch, "CUDA semantics", section "CUDA Graphs" (2.11)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from imageserver.engine.capturing.kept_tensors import tensors_read
from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable


@dataclass(frozen=True)
class CudaGraph:
    """The captured launches with their result, which every replay overwrites, and the bytes of both."""

    output: Any
    bytes: int
    replay: Callable[[], None]
    kept: tuple[torch.Tensor, ...]


class CudaGraphs:
    """Captures on one CUDA device; every graph has memory of its own, so that dropping it frees that."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def capture(self, compute: Callable[[], Any]) -> CudaGraph:
        """Capture the launches of `compute`; raises RuntimeError where it waits for the device in between."""
        with torch.cuda.device(self.device):
            current, beside = torch.cuda.current_stream(), torch.cuda.Stream()
            # Libraries set themselves up in the first call on a stream, which must not be captured.
            beside.wait_stream(current)
            with torch.cuda.stream(beside):
                kept = tensors_read(compute)
            current.wait_stream(beside)
            torch.cuda.synchronize()
            # Beginning a capture does this too, and would hide what the graph takes.
            torch.cuda.empty_cache()
            before, graph = torch.cuda.memory_reserved(), torch.cuda.CUDAGraph()
            # Other threads may allocate meanwhile, such as the one that checks finished images.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                output = compute()
            return CudaGraph(output, max(0, torch.cuda.memory_reserved() - before), graph.replay, kept)

    def wait(self) -> None:
        devices.synchronize(self.device)


def open_graphs(device: torch.device) -> CudaGraphs:
    """Return the graphs of a device; raises ModelUnavailable for one that has none."""
    if device.type != "cuda":
        raise ModelUnavailable(f"CUDA_GRAPHS=1 cannot be used: it needs a CUDA device, not {device}.")
    return CudaGraphs(device)
