"""No server but a process that calls `pipe()` for every line of its standard input and prints the seconds.

The baseline for the overhead of a server.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType

from benchmarks.conditions import Conditions
from benchmarks.servers.kind import project_python
from benchmarks.traffic import ImageRequest


class BarePipeline:
    """A handle to the process."""

    def __init__(self, conditions: Conditions, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [project_python(), "-m", "benchmarks.servers.bare"],
            env=environment | conditions.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._is_stopped = False

    def generate(self, image_request: ImageRequest) -> float:
        """Return the seconds of one `pipe()` call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(image_request.body()), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The bare pipeline has ended; its error is above.")
        return float(line)

    def stop(self) -> None:
        """Stop the process with all its threads, until `awake` or the end."""
        self._process.send_signal(signal.SIGSTOP)
        self._is_stopped = True

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let a stopped process go on inside."""
        self._go_on()
        try:
            yield
        finally:
            self.stop()

    def _go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._is_stopped = False

    def __enter__(self) -> "BarePipeline":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._is_stopped:
            self._go_on()
        self._process.wait(30)


def main() -> None:
    """Generate until the input ends."""
    from benchmarks.servers.generating import generate, load_pipeline, read

    pipeline = load_pipeline()
    for line in sys.stdin:
        wanted = read(json.loads(line))
        began = time.monotonic()
        generate(pipeline, [wanted])
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main()
