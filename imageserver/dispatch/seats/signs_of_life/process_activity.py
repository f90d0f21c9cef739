"""What a process and its descendants have consumed so far, as the operating system counts it."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class ProcessActivity:
    """Seconds of processor time, bytes that were read and written, bytes in memory; all fall when a descendant ends."""

    cpu_seconds: float = 0.0
    transferred_bytes: int = 0
    resident_bytes: int = 0


def activity_of(pid: int) -> ProcessActivity:
    """Return the activity of a process and its descendants; what has ended or may not be looked at counts as none."""
    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
    except psutil.Error:
        return ProcessActivity()
    return ProcessActivity(
        sum(map(_cpu_seconds, processes)), sum(map(_transferred_bytes, processes)), sum(map(_resident_bytes, processes))
    )


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _transferred_bytes(process: psutil.Process) -> int:
    """Return the bytes of files, also of those that are mapped into memory."""
    # macOS has no such counters.
    if not hasattr(process, "io_counters"):
        return 0
    try:
        counters = process.io_counters()
    except psutil.Error:
        return 0
    # On Linux, `chars` are of read() and write(), `bytes` of the disk, which is all that a mapped file has.
    names = ("read_bytes", "write_bytes", "read_chars", "write_chars")
    return sum(getattr(counters, name, 0) for name in names)


def _resident_bytes(process: psutil.Process) -> int:
    """Return the bytes in memory, those of mapped files too, wherever they were read from."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
