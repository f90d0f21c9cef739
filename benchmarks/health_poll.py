"""Poll a path of a server in a process of its own: `python -m benchmarks.health_poll PORT PATH SECONDS INTERVAL`."""

import http.client
import json
import signal
import subprocess
import sys
import time

INTERVAL_SECONDS = 0.05
TIMEOUT = 120.0


class HealthPoll:
    """A handle to the polling process, which ends after `seconds` or when it is stopped."""

    def __init__(self, port: int, seconds: float, path: str = "/health", interval: float = INTERVAL_SECONDS) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.health_poll", str(port), path, str(seconds), str(interval)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> list[float]:
        """End it after the poll under way and return the seconds of every answer."""
        self._process.send_signal(signal.SIGINT)
        return self.latencies()

    def latencies(self) -> list[float]:
        """Wait for the end and return the seconds of every answer."""
        return [float(value) for value in json.loads(self._process.communicate()[0])]


def poll(port: int, path: str, seconds: float, interval: float) -> list[float]:
    """Return the seconds of every answer from when the poll was due: a poll that hangs delays the next ones."""
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    began, latencies = time.monotonic(), []
    due = began
    while due < began + seconds and not stopped:
        time.sleep(max(0.0, due - time.monotonic()))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()
        latencies.append(time.monotonic() - due)
        due += interval
    return latencies


if __name__ == "__main__":
    print(json.dumps(poll(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))))
