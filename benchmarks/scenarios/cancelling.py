"""A client hangs up in the middle of a large image: how many steps later is the device free?"""

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient
from benchmarks.figures import at_most
from benchmarks.servers import OURS
from benchmarks.servers.process import ServerProcess
from benchmarks.trace import Span, read_trace
from benchmarks.traffic import ImageRequest, RequestSource

NAME = "cancelling"
SIDE, STEPS = 1328, 50
FORWARDS_BEFORE = 4
TIMEOUT_SECONDS = 60.0


def run(bench: Bench) -> None:
    """Measure ours; the others finish an image that nobody receives."""
    image_requests, steps, seconds = RequestSource(seed=400), [], []
    with bench.fleet.serving(OURS) as server:
        assert server.trace is not None
        for turn in range(bench.plan.repeats):
            freed, step = _hang_up(server, server.trace, image_requests.next((STEPS,), SIDE), turn / bench.plan.repeats)
            steps.append(freed / step)
            seconds.append(freed)
    bench.measurements[NAME] = {"seconds": seconds, "steps": steps}
    note = f"{len(steps)} cancels, mean {statistics.fmean(seconds):.3f} s"
    bench.record(NAME, "longest from hanging up to a free device", max(steps), "steps", at_most(1.0), note)


def _hang_up(server: ServerProcess, trace: Path, image_request: ImageRequest, share: float) -> tuple[float, float]:
    """Return the seconds until the device was free and those of a step; hang up after `share` of a step."""
    before = len(_forwards(trace))
    client = LoadClient(server.port)
    asking = threading.Thread(target=client.ask, args=(image_request,))
    asking.start()
    _wait_until(lambda: len(_forwards(trace)) >= before + FORWARDS_BEFORE)
    spans = _forwards(trace)[before:]
    step = statistics.median(span.ended - span.began for span in spans)
    time.sleep(share * step)
    left = time.monotonic()
    client.hang_up()
    asking.join()
    time.sleep(5 * step)
    # The server's own warm-up is over: all further forwards belong to the cancelled image.
    last = max(span.ended for span in _forwards(trace)[before:])
    return max(0.0, last - left), step


def _forwards(trace: Path) -> list[Span]:
    return [span for span in read_trace(trace) if span.kind == "forward"]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"The engine did not begin to generate within {TIMEOUT_SECONDS:g} s.")
        time.sleep(0.005)
