"""Runs a module of the engine as a process of its own: the engine alone imports PyTorch, also where it is missing."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from imageserver.settings import IS_CHECKOUT, WORKING_DIR

INSTALL = "bash start_server.sh --install-only, or pip install 'qwen-image-server[engine]', installs it"


class ModuleFailed(Exception):
    """The process has ended with an error; the message is its last line, and what installs what is missing."""


def environment() -> dict[str, str]:
    """Return the variables for a process of ours: what lies in the user's folder is not imported."""
    return {**os.environ} if IS_CHECKOUT else os.environ | {"PYTHONSAFEPATH": "1"}


def lines_of(module: str, text: str) -> Iterator[str]:
    """Yield what a module prints that gets a text on stdin; raises ModuleFailed."""
    # Libraries write their own bars to it, more than a pipe holds that nobody reads.
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(
            [sys.executable, "-m", module], cwd=WORKING_DIR, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(text)
                process.stdin.close()
                yield from process.stdout
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or [f"status {process.returncode}"])[-1]
            advice = f"; {INSTALL}" if reason.startswith("ModuleNotFoundError") else ""
            raise ModuleFailed(f"{reason}{advice}")
