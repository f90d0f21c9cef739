"""The memory of all processes of a server, and its peak."""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

INTERVAL_SECONDS = 0.05
MIB = 1024 * 1024


class PeakMemory:
    """Watches processes while its block runs; `peak` is in MiB."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0.0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def read(self) -> float:
        """Return the MiB of this moment."""
        return sum(memory_of(process) for process in self._processes)

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.read())
            if self._stop.wait(INTERVAL_SECONDS):
                return


class PeakCardMemory(PeakMemory):
    """Watches the first CUDA card instead: `peak` is what all programs hold on it, in MiB."""

    def __init__(self) -> None:
        super().__init__(())

    def read(self) -> float:
        import torch

        free, total = torch.cuda.mem_get_info()
        return (total - free) / MIB


def memory_of(process: psutil.Process) -> float:
    """Return MiB of a process: pages that several share are counted once in total (PSS) where the system says so."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / MIB
    return 0.0
