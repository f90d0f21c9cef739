"""How large a server is while it works: memory, descriptors, threads and greenlets of each process, and its files."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.server import Server
from tests.support.soak.growth import Sample

INTERVAL_SECONDS = 2.0
MEBIBYTE = 2**20


class Sizes:
    """Sizes by what they are of, sampled every two seconds from entering the block to leaving it."""

    def __init__(self, server: Server, folders: dict[str, Path], counts: Path, done: Callable[[], int]) -> None:
        """Measure `folders` by their names; `counts` is the folder of `injected`, `done` counts the generations."""
        self._server, self._folders, self._counts, self._done = server, folders, counts, done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)

    def __enter__(self) -> "Sizes":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            done, now = self._done(), time.monotonic()
            for (of, kind), value in {**self._of_processes(), **self._of_files()}.items():
                self.samples[of, kind].append(Sample(done, now, value))

    def _of_processes(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for process in self._server.processes():
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                name = f"{process.pid} {_title_of(process)}"
                greenlets, blocks = map(float, (self._counts / str(process.pid)).read_text().split())
                found |= {
                    (name, "MiB"): process.memory_info().rss / MEBIBYTE,
                    (name, "descriptors"): float(process.num_fds()),
                    (name, "threads"): float(process.num_threads()),
                    (name, "greenlets"): greenlets,
                    (name, "blocks"): blocks,
                }
        return found

    def _of_files(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for name, folder in self._folders.items():
            sizes = _sizes_in(folder)
            found |= {(name, "MiB of files"): sum(sizes) / MEBIBYTE, (name, "files"): float(len(sizes))}
            # Without the log beside a database, which is as large as its last peak.
            if databases := _sizes_in(folder, "*.sqlite"):
                found[name, "MiB of SQLite"] = sum(databases) / MEBIBYTE
        return found


def _title_of(process: psutil.Process) -> str:
    """Return what the process is, by the words of its command line that say so."""
    command = process.cmdline()
    named = [each for each in command if each.startswith(("imageserver.", "tests.", "gunicorn"))]
    return named[0] if named else " ".join(command)[-40:]


def _sizes_in(folder: Path, pattern: str = "*") -> list[int]:
    sizes = []
    for file in folder.rglob(pattern):
        # It may go while we look.
        with contextlib.suppress(OSError):
            if file.is_file():
                sizes.append(file.stat().st_size)
    return sizes
