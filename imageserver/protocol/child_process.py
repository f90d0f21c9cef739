"""Ends child processes of an event loop without taking their status from it."""

import asyncio
import contextlib
import os
import signal


def terminate(process: asyncio.subprocess.Process) -> None:
    """Ask a child process to end; one that has ended already is left alone."""
    _send(process, signal.SIGTERM)


def kill(process: asyncio.subprocess.Process) -> None:
    """End a child process by force; one that has ended already is left alone."""
    _send(process, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not by the methods of `process`: they reap a child that has just ended, and the loop reports status 255 then.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
