"""Poll `/health` in a process of its own: `python -m benchmarks.health_poll PORT SECONDS`."""

import http.client
import json
import subprocess
import sys
import time

INTERVAL_SECONDS = 0.05
TIMEOUT = 120.0


class HealthPoll:
    """A handle to the polling process."""

    def __init__(self, port: int, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.health_poll", str(port), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def latencies(self) -> list[float]:
        """Wait for the end and return the seconds of every answer."""
        return [float(value) for value in json.loads(self._process.communicate()[0])]


def poll(port: int, seconds: float) -> list[float]:
    """Return the seconds of every answer from when the poll was due: a poll that hangs delays the next ones."""
    began, latencies = time.monotonic(), []
    due = began
    while due < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
        latencies.append(time.monotonic() - due)
        due += INTERVAL_SECONDS
    return latencies


if __name__ == "__main__":
    print(json.dumps(poll(int(sys.argv[1]), float(sys.argv[2]))))
