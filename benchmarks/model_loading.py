"""Measure how long a model takes to load, the first time and again: `python -m benchmarks.model_loading`.

The engine's model pool loads in this process, without a server. The first load measures the device; the others find
the measurements, and the files in the machine's cache.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from imageserver.engine.models.model_pool import ModelPool
from imageserver.protocol.messages import Message
from imageserver.settings import Settings


def load_again_and_again(model: str, state: Path, times: int) -> list[float]:
    """Return the seconds of every load; the model leaves the memory after each."""

    def report(phase: str, sentence: str, fraction: float | None) -> None:
        """Ignore the progress."""

    def send(message: Message, raw: bytes) -> None:
        """Ignore the messages."""

    pool = ModelPool(Settings(model=model, state_dir=state), send, report)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        info = pool.load(pool.find(model, report, fetch=False), report)
        seconds.append(time.perf_counter() - began)
        pool.unload(info.name)
    return seconds


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_loading", description=__doc__)
    parser.add_argument("--model", default="demo", help="model, as in the setting MODEL; it must be on the disk")
    parser.add_argument("--times", type=int, default=10, help="loads after the first one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        first, *again = load_again_and_again(chosen.model, Path(folder), chosen.times + 1)
    print("| model | first load | again, median | again, longest |")
    print("| --- | --- | --- | --- |")
    print(f"| {chosen.model} | {first:.2f} s | {statistics.median(again):.2f} s | {max(again):.2f} s |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
