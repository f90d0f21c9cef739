"""How long others wait, and how much memory it takes, while large bodies are read: `python -m benchmarks.bodies`.

Starts the server on a free port with an engine that only simulates, sends each body alone, and polls `/livez` from a
process of its own meanwhile.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bodies.accepted import ACCEPTED_BODIES
from benchmarks.bodies.hostile import HOSTILE_BODIES, SIZE
from benchmarks.bodies.sent_body import TIMEOUT, SentBody, send
from benchmarks.conditions import Conditions
from benchmarks.health_poll import HealthPoll
from benchmarks.memory import PeakMemory, memory_of
from benchmarks.percentiles import percentile
from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, ServerProcess

INTERVAL_SECONDS = 0.01
# Polls before and after a body.
MARGIN_SECONDS = 0.3


def main() -> int:
    """Measure every body, or those whose names are given, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bodies", description=__doc__)
    parser.add_argument("names", nargs="*", help="names of bodies, or words in them; all by default")
    chosen = parser.parse_args()
    bodies = (*HOSTILE_BODIES, *ACCEPTED_BODIES)
    wanted = [body for body in bodies if not chosen.names or any(word in body.name for word in chosen.names)]
    with tempfile.TemporaryDirectory(prefix="bodies-") as folder:
        server = ServerProcess(OURS, Conditions("simulated", ROOT / "imageserver" / "demo_model"), Path(folder))
        try:
            server.wait_until_ready()
            print("| body | answer | seconds | /livez p50 ms | p99 ms | longest ms | peak MiB above idle |")
            print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
            for body in wanted:
                print(_row(server, body), flush=True)
        finally:
            server.stop()
    return 0


def _row(server: ServerProcess, body: SentBody) -> str:
    data = body.build(SIZE)
    processes = server.processes()
    idle = sum(map(memory_of, processes))
    poll = HealthPoll(server.port, TIMEOUT, "/livez", INTERVAL_SECONDS)
    with PeakMemory(processes) as memory:
        time.sleep(MARGIN_SECONDS)
        began = time.monotonic()
        answer = send(server.port, body, data)
        seconds = time.monotonic() - began
        time.sleep(MARGIN_SECONDS)
    latencies = [1000 * latency for latency in poll.stop()]
    figures = (percentile(latencies, 50), percentile(latencies, 99), max(latencies), memory.peak - idle)
    return f"| {body.name} | {answer} | {seconds:.1f} | {' | '.join(f'{figure:.0f}' for figure in figures)} |"


if __name__ == "__main__":
    sys.exit(main())
