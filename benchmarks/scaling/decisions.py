"""How long the dispatcher takes to decide, with a long queue: which job is next, and what becomes of a new one.

The dispatcher is the real one; its engines do nothing, and nothing is sent. A decision waits for nothing, so its
processor time is what it takes where nothing else runs.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.percentiles import percentile
from imageserver.generation import Generation
from imageserver.protocol.messages import Submit
from tests.support.dispatch_harness import Harness

SIDES = (256, 512, 768, 1024)
KEYS = 10


async def measure(seats: int, queued: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Return the milliseconds of each decision: `next job` when one has ended, `accept` when one comes."""
    harness = Harness(room=1, seats=seats, max_queue=100_000, state_dir=folder)
    for number in range(queued + seats):
        harness.dispatcher.submit(_request(number), harness.worker)
    times: dict[str, list[float]] = {"next job": [], "accept": []}
    for number in range(rounds):
        [ended] = harness.engines[number % seats].running
        with _timing(times["next job"]):
            harness.finish(ended)
        request = _request(queued + seats + number)
        with _timing(times["accept"]):
            harness.dispatcher.submit(request, harness.worker)
        # What the dispatcher has put off for a moment: snapshots, and the estimates of the waiting jobs.
        await asyncio.sleep(0.01)
    return times


def report(seats: int = 8, queued: int = 1000, rounds: int = 500) -> None:
    """Print the percentiles."""
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure(seats, queued, rounds, Path(folder)))
    for what, times in measured.items():
        p50, p99 = percentile(times, 50), percentile(times, 99)
        print(f"{what}, {seats} seats, {queued} queued: p50 {p50:.2f} ms, p99 {p99:.2f} ms", flush=True)


@contextlib.contextmanager
def _timing(times: list[float]) -> Iterator[None]:
    began = time.thread_time()
    yield
    times.append((time.thread_time() - began) * 1000)


def _request(number: int) -> Submit:
    side = SIDES[number % len(SIDES)]
    generation = Generation(
        prompt="", negative_prompt=" ", width=side, height=side, steps=10 + number % 30, true_cfg_scale=1.0,
        seed=number, model="scripted",
    )  # fmt: skip
    return Submit(job=number, generation=generation, timeout=600.0, credential=f"key{number % KEYS}")
