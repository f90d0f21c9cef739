"""A Ray node on this machine: the head, a machine that offers engines, or one that only asks for them."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from imageserver.cluster.host.seat_folder import SeatFolder
from imageserver.cluster.nodes import membership
from imageserver.settings import WORKING_DIR, Settings

PR_SET_PDEATHSIG = 1
# The least that Ray accepts is 75 MiB; frames are read as soon as they come.
OBJECT_STORE_BYTES = 256 * 1024 * 1024
# Ports of one node's parts, then one for each of its workers and drivers.
PARTS = (
    "node-manager-port", "object-manager-port", "runtime-env-agent-port", "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port", "metrics-export-port",
)  # fmt: skip
WORKER_PORTS = 40
# The defaults notice a frozen machine after 20 to 70 s.
HEALTH = {"initial_delay_ms": 1000, "period_ms": 1000, "timeout_ms": 2000, "failure_threshold": 3}


@dataclass(frozen=True)
class Node:
    """How to run `ray start`; `devices` are those that it offers, one engine each."""

    settings: Settings
    is_head: bool = False
    devices: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Its own: two nodes of one machine in one folder would not start. Short, for the sockets in it."""
        port = membership.head_address(self.settings).rpartition(":")[2]
        return Path(tempfile.gettempdir()) / f"qis-ray-{os.getuid()}-{port}-{membership.own_address(self.settings)}"

    @property
    def seats(self) -> SeatFolder:
        return SeatFolder(self.folder / "seats", self.devices)

    @property
    def log_file(self) -> Path:
        """What `ray start` has printed."""
        return self.folder / "node.log"

    def command(self) -> list[str]:
        """Return the command line; it holds no secret."""
        settings = self.settings
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        if self.is_head:
            command += ["--head", f"--port={settings.cluster_port}", "--include-dashboard=false"]
        else:
            command += [f"--address={membership.head_address(settings)}"]
        command += [
            f"--node-ip-address={membership.own_address(settings)}",
            f"--resources={json.dumps({membership.RESOURCE: len(self.devices)})}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={self.folder}",
            "--num-cpus=0", "--num-gpus=0", "--include-log-monitor=false",
        ]  # fmt: skip
        return command + self._ports()

    def _ports(self) -> list[str]:
        first = self.settings.cluster_node_port
        if not first:
            return [f"--{name}=0" for name in (*PARTS, "min-worker-port", "max-worker-port")]
        ports = [f"--{name}={first + number}" for number, name in enumerate(PARTS)]
        workers = first + len(PARTS)
        return [*ports, f"--min-worker-port={workers}", f"--max-worker-port={workers + WORKER_PORTS - 1}"]

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it; SIGTERM ends all of it, and so does the end of this process."""
        variables = membership.environment(self.settings)
        variables |= {f"RAY_health_check_{name}": str(value) for name, value in HEALTH.items()}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(WORKING_DIR), os.environ.get("PYTHONPATH"))))
        variables |= self.seats.variables
        if self.is_head:
            store = self.settings.resolve(self.settings.state_dir) / "cluster"
            variables |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(store)}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not followed: whoever may write beside it could read the sockets in it.
        if self.folder.lstat().st_uid != os.getuid():
            raise PermissionError(f"The folder {self.folder} belongs to somebody else; set TMPDIR to one of your own.")
        self.seats.prepare()
        # What the last head here has written: Ray would take a member of this machine for a head that still runs.
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)
        with self.log_file.open("wb") as log:
            # In a session of its own: Ctrl+C is for the process that keeps it.
            return subprocess.Popen(
                self.command(), env=os.environ | variables, cwd=WORKING_DIR, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
