"""The dispatcher's process as others see it: one that hangs, or is stopped, has to be ended from outside."""

import contextlib
import os
import signal

import psutil

MODULE = "imageserver.dispatch"


def kill(pid: int, owner: int) -> bool:
    """Kill the dispatcher of the server `owner`, and return whether there was one.

    An address file may outlive its dispatcher; its process id may be another process's then, which is spared.
    """
    try:
        process = psutil.Process(pid)
        if process.cmdline()[-2:] != [MODULE, str(owner)]:
            return False
        process.kill()
    except psutil.Error:
        return False
    return True


def ask_to_end(pid: int) -> None:
    """Ask a process to end, and wake it where it is stopped."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
        if hasattr(signal, "SIGCONT"):
            os.kill(pid, signal.SIGCONT)
