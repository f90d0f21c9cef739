"""The memory that many small files of large images take at once: `python -m benchmarks.image_flood`.

57 KB of PNG are 4096 x 4096 pixels, 50 MB of RGB. Starts the server on a free port with an engine that only simulates
and the default limits, sends all requests at once, and watches the memory of all its processes.
"""

import argparse
import base64
import collections
import dataclasses
import io
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from benchmarks.conditions import Conditions
from benchmarks.health_poll import HealthPoll
from benchmarks.memory import PeakMemory, memory_of
from benchmarks.percentiles import percentile
from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, ServerProcess

SIDE = 4096
TIMEOUT = 590.0
# Longer than a poll takes while both cores are busy: late ones would count twice.
INTERVAL_SECONDS = 0.25


def main() -> int:
    """Send the requests and print the answers and the peak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_flood", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="requests at once")
    parser.add_argument("--size", default="256x256", help="size of the images that are generated")
    parser.add_argument("--alpha", action="store_true", help="send images with transparency")
    chosen = parser.parse_args()
    kind = dataclasses.replace(OURS, environment={**OURS.environment, "MAX_QUEUE": "64"})
    with tempfile.TemporaryDirectory(prefix="flood-") as folder:
        conditions = Conditions("simulated", ROOT / "imageserver" / "demo_model", time_scale=0.05)
        server = ServerProcess(kind, conditions, Path(folder))
        try:
            server.wait_until_ready()
            print(_measure(server, chosen))
        finally:
            server.stop()
    return 0


def large_image(number: int, *, alpha: bool = False) -> bytes:
    """Return a small PNG file of a large image, unlike all others."""
    pixels = np.zeros((SIDE, SIDE, 4 if alpha else 3), np.uint8)
    pixels[:, : number + 1] = number % 256
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _measure(server: ServerProcess, chosen: argparse.Namespace) -> str:
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda number: large_image(number, alpha=chosen.alpha), range(chosen.count)))
    bodies = [
        json.dumps({"prompt": "a cat", "image": base64.b64encode(data).decode(), "num_inference_steps": 2, "n": 1}
                   | {"size": chosen.size})
        for data in files
    ]  # fmt: skip

    def ask(body: str) -> str:
        answer = requests.post(f"http://127.0.0.1:{server.port}/generate", data=body, timeout=TIMEOUT)
        return f"{answer.status_code} {'' if answer.ok else answer.json()['code']}".strip()

    processes = server.processes()
    idle = sum(map(memory_of, processes))
    poll = HealthPoll(server.port, TIMEOUT, "/livez", INTERVAL_SECONDS)
    began = time.monotonic()
    with PeakMemory(processes) as memory, ThreadPoolExecutor(chosen.count) as pool:
        answers = collections.Counter(pool.map(ask, bodies))
    seconds, waits = time.monotonic() - began, [1000 * wait for wait in poll.stop()]
    left = sum(map(memory_of, processes)) - idle
    return (
        f"{chosen.count} requests of {len(files[0])} bytes in {seconds:.0f} s: {dict(answers)}\n"
        f"memory: {idle:.0f} MiB idle, at most {memory.peak - idle:.0f} MiB more, {left:.0f} MiB more at the end\n"
        f"/livez: median {percentile(waits, 50):.0f} ms, p99 {percentile(waits, 99):.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
