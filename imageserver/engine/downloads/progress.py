"""How far a download is: the bytes that have come of all its files."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Called with (phase, sentence, fraction).
Report = Callable[[str, str, float | None], None]

GROWTH_INTERVAL_SECONDS = 1.0
# A percent of a large model on a slow line takes longer; an engine that reports nothing may be taken for a hung one.
REPORT_INTERVAL_SECONDS = 30.0


class ProgressMeter:
    """Adds up the bytes of all files that are being downloaded."""

    def __init__(self, model: str, total: int, report: Report) -> None:
        self._model, self._total, self._report = model, total, report
        self._lock = threading.Lock()
        self._done = 0
        self._last_percent = -1
        self._reported_at = 0.0

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            percent, now = int(100 * self._done / self._total) if self._total else 0, time.monotonic()
            is_due = bool(size) and now - self._reported_at >= REPORT_INTERVAL_SECONDS
            if percent == self._last_percent and not is_due:
                return
            self._last_percent, self._reported_at = percent, now
        gigabytes = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB"
        self._report("downloading", f"{self._model}: {gigabytes}", min(1.0, self._done / max(1, self._total)))


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder, unfinished ones included, and links not counted."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # files are renamed meanwhile
            total += 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
    return total


@contextlib.contextmanager
def growth_of(folder: Path, meter: ProgressMeter) -> Iterator[None]:
    """Add the bytes that arrive in `folder` to the meter: the hub's own bars count some twice."""

    def watch(known: int) -> None:
        while not done.wait(GROWTH_INTERVAL_SECONDS):
            now = bytes_in(folder)
            meter.add(now - known)
            known = now
        meter.add(bytes_in(folder) - known)

    done = threading.Event()
    watcher = threading.Thread(target=watch, args=[bytes_in(folder)], name="download-meter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
