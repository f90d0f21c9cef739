"""Say images per second over HTTP, ours against the plain design, and one client over a bare `pipe()`.

Both are scenarios of `python -m benchmarks`. `--tiny` measures the simulated device.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.figures import say

STAGE = "http"


def main(tiny: bool) -> int:
    """Return the exit status of the benchmark."""
    load = ["--device", "simulated", "--seconds", "3"] if tiny else ["--device", "cuda", "--seconds", "12"]
    folder = Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="check-"))
    command = [sys.executable, "-m", "benchmarks", *load, "--scenario", "throughput", "overhead"]
    status = subprocess.call(
        [*command, "--quick", "--server", "a", "e", "--output", str(folder / "http")],
        stdout=sys.stderr,
        stderr=sys.stderr,
    )
    if status == 0:
        for figure in json.loads((folder / "http" / "latest.json").read_text())["figures"]:
            say(STAGE, figure["what"], figure["value"], figure["unit"], device=figure["device"], bar=figure["bar"])
    return status


if __name__ == "__main__":
    sys.exit(main("--tiny" in sys.argv[1:]))
