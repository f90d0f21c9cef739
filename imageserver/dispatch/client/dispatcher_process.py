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
        if not _is_of(process.cmdline(), owner):
            return False
        process.kill()
    except psutil.Error:
        return False
    return True


def dispatchers_of(owner: int) -> list[int]:
    """Return the process ids of the dispatchers of the server `owner`, whether they have an address or not."""
    return [each.pid for each in psutil.process_iter(["cmdline"]) if _is_of(each.info["cmdline"] or [], owner)]


def ask_to_end(pid: int) -> None:
    """Ask a process to end, and wake it where it is stopped."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
        if hasattr(signal, "SIGCONT"):
            os.kill(pid, signal.SIGCONT)


def _is_of(command: list[str], owner: int) -> bool:
    return command[-2:] == [MODULE, str(owner)]
