"""Keeps a Ray node of this machine running: starts it, starts it again when it ends, drains and ends it."""

import contextlib
import logging
import re
import subprocess
import time
from collections.abc import Callable

import psutil

from imageserver.cluster.nodes import membership
from imageserver.cluster.nodes.node import Node
from imageserver.cluster.versions import REQUIREMENTS, python_advice

logger = logging.getLogger(__name__)

STARTED = "Ray runtime started"
START_SECONDS = 60.0
POLL_SECONDS = 0.2
# Before a node that has ended is started again: its head may be on its way.
PAUSE_SECONDS = 3.0
END_SECONDS = 5.0
# What Ray says only after pages and up to a minute of trying.
REFUSED = "InvalidAuthToken"
SILENT_HEAD = "Failed to connect to GCS"
OTHER_VERSIONS = "Version mismatch: "
VERSIONS = re.compile(r"was started with:\s+Ray: (\S+)\s+Python: (\S+)")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
NOISE = re.compile(r"^[\s\-=]*$|Traceback|^\s+File |^\s+\^*$|^\[\d{4}-")


class NodeUnusable(Exception):
    """The node did not start; the message is one sentence that says why."""


class NodeKeeper:
    """One node, started again whenever it ends by itself."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None
        self._stops = 0

    def request_stop(self, *_: object) -> None:
        """End the node after its engines' jobs; asked again, at once. Serves as a handler of signals."""
        self._stops += 1

    def start(self) -> None:
        """Start the node and wait until it belongs to the cluster; raises NodeUnusable."""
        self._process = self._node.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._stops:
            ended, output = self._process.poll() is not None, self._output()
            if STARTED in output:
                return
            if ended or REFUSED in output or time.monotonic() > deadline:
                self._end()
                raise NodeUnusable(self._complaint())
            time.sleep(POLL_SECONDS)

    def keep(self, lives_on: Callable[[], bool]) -> None:
        """Run until a stop is requested or `lives_on` says that the node has lost its reason."""
        while not self._stops and lives_on():
            time.sleep(POLL_SECONDS)
            if self._process is None or self._process.poll() is not None:
                address, reason = membership.head_address(self._node.settings), self._complaint()
                logger.warning("This machine tries to join the cluster at %s again until it can: %s", address, reason)
                time.sleep(PAUSE_SECONDS)
                with contextlib.suppress(NodeUnusable):
                    self.start()
        if self._node.devices and lives_on():
            self._drain()
        self._end()

    def _drain(self) -> None:
        self._node.seats.drain()
        logger.warning("No new jobs are accepted; the running ones are finished first. Ctrl+C again ends them.")
        while self._stops < 2 and self._node.seats.has_engines():
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        """End every process of the node, politely at first."""
        if self._process is None or self._process.poll() is not None:
            return
        family = [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]
        self._process.terminate()
        psutil.wait_procs(family, timeout=END_SECONDS)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _output(self) -> str:
        with contextlib.suppress(OSError):
            return ESCAPES.sub("", self._node.log_file.read_text(errors="replace"))
        return ""

    def _complaint(self) -> str:
        """Return what was wrong: in our words where it is a common mistake, else the last line that Ray has written."""
        output = self._output()
        if REFUSED in output:
            return "it has another token: CLUSTER_TOKEN must be the one that its first machine has printed."
        if SILENT_HEAD in output:
            return "nothing answers there."
        versions = VERSIONS.findall(output.rpartition(OTHER_VERSIONS)[2]) if OTHER_VERSIONS in output else ()
        if len(versions) > 1:
            (ray, python), (own_ray, own_python) = versions[:2]
            advice = REQUIREMENTS if ray != own_ray else python_advice(python)
            return f"it has Ray {ray} and Python {python}, this machine {own_ray} and {own_python}: {advice}."
        lines = [line.strip() for line in output.splitlines() if not NOISE.search(line)]
        return lines[-1] if lines else "Ray said nothing."
