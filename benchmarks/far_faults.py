"""How soon the loss of a far engine is noticed, cause by cause: `python -m benchmarks.far_faults`.

A server that is the head and two machines, real Ray on loopback addresses, engines that compute nothing. On this side a
loss is noticed when the process ends that stands for the engine; on the other side, when the engine itself ends.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.ray_cluster import Cluster, JoinedMachine

# As long as a frozen machine stays so: it ends its engine itself when it wakes up.
FROZEN_SECONDS = 12.0
MAX_SECONDS = 60.0
Fault = Callable[[Cluster, JoinedMachine], float]


def main() -> int:
    """Cause every fault several times and print how long each took to be noticed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.far_faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault is caused")
    parser.add_argument("--only", default="", help="causes with these words")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        cluster = Cluster(Path(folder))
        try:
            for name, fault in FAULTS.items():
                if chosen.only not in name:
                    continue
                times = [_cause(cluster, fault, number) for number in range(chosen.rounds)]
                print(f"{name}: {', '.join(f'{seconds:.2f}' for seconds in sorted(times))} s", flush=True)
        finally:
            cluster.stop()
    return 0


def _cause(cluster: Cluster, fault: Fault, number: int) -> float:
    cluster.heal()
    return fault(cluster, cluster.machines[number % len(cluster.machines)])


def _engine_killed(cluster: Cluster, machine: JoinedMachine) -> float:
    return _until_end(_stand_in(cluster, machine), machine.engines()[0].kill)


def _actor_killed(cluster: Cluster, machine: JoinedMachine) -> float:
    return _until_end(_stand_in(cluster, machine), _actor(machine).kill)


def _machine_killed(cluster: Cluster, machine: JoinedMachine) -> float:
    return _until_end(_stand_in(cluster, machine), machine.kill)


def _machine_frozen(cluster: Cluster, machine: JoinedMachine) -> float:
    seconds = _until_end(_stand_in(cluster, machine), lambda: machine.signal_node(signal.SIGSTOP))
    time.sleep(max(0.0, FROZEN_SECONDS - seconds))
    machine.signal_node(signal.SIGCONT)
    return seconds


def _stand_in_killed(cluster: Cluster, machine: JoinedMachine) -> float:
    return _until_end(machine.engines()[0], _stand_in(cluster, machine).kill)


def _stand_in_frozen(cluster: Cluster, machine: JoinedMachine) -> float:
    stand_in = _stand_in(cluster, machine)
    seconds = _until_end(machine.engines()[0], stand_in.suspend)
    with contextlib.suppress(psutil.NoSuchProcess):
        stand_in.resume()
    return seconds


FAULTS: dict[str, Fault] = {
    "the engine is killed": _engine_killed,
    "its actor is killed": _actor_killed,
    "the machine dies": _machine_killed,
    "the machine freezes": _machine_frozen,
    "the stand-in is killed, until the engine ends": _stand_in_killed,
    "the stand-in freezes, until the engine ends": _stand_in_frozen,
}


def _stand_in(cluster: Cluster, machine: JoinedMachine) -> psutil.Process:
    """Return the process that stands for a machine's engine on the first machine."""
    devices = cluster.server.health()["devices"]
    return psutil.Process(next(each["engine_pid"] for each in devices if each["name"].startswith(machine.address)))


def _actor(machine: JoinedMachine) -> psutil.Process:
    return next(each for each in machine.processes() if "EngineHost" in " ".join(each.cmdline()))


def _until_end(process: psutil.Process, cause: Callable[[], None]) -> float:
    """Cause something, and return how many seconds later a process has ended."""
    began = time.monotonic()
    cause()
    while _lives(process):
        if time.monotonic() - began > MAX_SECONDS:
            raise TimeoutError(f"The process {process.pid} still lives after {MAX_SECONDS:g} s.")
        time.sleep(0.01)
    return time.monotonic() - began


def _lives(process: psutil.Process) -> bool:
    """Return whether it runs; what nobody has reaped yet has ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    sys.exit(main())
