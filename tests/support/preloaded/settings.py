"""The settings of a server whose engines are forked, and the processes that fork them and ranks."""

import atexit
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.preloaded.protocol import IS_SUPPORTED, VARIABLE


@cache
def preloaded() -> dict[str, str]:
    """Return the settings; empty beside Linux."""
    if not IS_SUPPORTED:
        return {}
    return {"ENGINE_MODULE": "tests.support.preloaded", VARIABLE: str(start_forker("forker"))}


def start_forker(module: str) -> Path:
    """Start a process that forks others and ends with this one, and return the socket that it listens at."""
    path = Path(tempfile.mkdtemp(prefix="engines-")) / "socket"
    command = [sys.executable, "-m", f"tests.support.preloaded.{module}", str(path)]
    process = subprocess.Popen(command, cwd=ROOT)
    atexit.register(_end, process)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)
    return path


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
