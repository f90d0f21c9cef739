"""The RAM that is free for this process: the machine's, or what the limit of its container leaves."""

from collections.abc import Iterator
from pathlib import Path

import psutil

# A container sees its own group here as the root of the second version of Linux's control groups.
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
UNLIMITED = "max"
# Pages of files, such as a model that was just downloaded: the kernel drops them before it ends a process.
DROPPED_FIRST = ("active_file", "inactive_file")


def available_bytes() -> int:
    """Return the bytes that this process can have before the kernel ends it."""
    return min((int(psutil.virtual_memory().available), *_left_by_limits()))


def _left_by_limits() -> Iterator[int]:
    """Yield what each limit leaves: those of the process' group and of the groups around it."""
    for group in _groups():
        try:
            limit = (group / "memory.max").read_text().strip()
            used = int((group / "memory.current").read_text())
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root of a machine has no limit
        if limit != UNLIMITED:
            yield max(0, int(limit) - used + sum(int(counts.get(name, 0)) for name in DROPPED_FIRST))


def _groups() -> Iterator[Path]:
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return  # not Linux
    for own in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        group = GROUPS / own
        yield from (group, *(parent for parent in group.parents if parent.is_relative_to(GROUPS)))
