"""The settings of a server whose engines are forked, and the process that forks them."""

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
    """Return the settings; the process is started at the first call and ends with this one. Empty beside Linux."""
    if not IS_SUPPORTED:
        return {}
    path = Path(tempfile.mkdtemp(prefix="engines-")) / "socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.support.preloaded.forker", str(path)], cwd=ROOT)
    atexit.register(_end, process)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)
    return {"ENGINE_MODULE": "tests.support.preloaded", VARIABLE: str(path)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
