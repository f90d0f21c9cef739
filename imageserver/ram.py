"""The RAM that this process may use: the machine's, or what the limit of its container leaves.

Whatever asks for free or total RAM asks here: a plan for the machine's would be ended at the container's limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
UNLIMITED = "max"


@dataclass(frozen=True)
class Ram:
    """Bytes that this process can have before the kernel ends it, and those that it could ever have."""

    available: int
    total: int


@dataclass(frozen=True)
class _Version:
    """How a version of Linux's control groups names its files.

    The kernel drops the pages of files, such as a model that was just downloaded, before it ends a process.
    """

    controller: str
    folder: str
    limits: tuple[str, ...]
    used: str
    dropped_first: tuple[str, ...]


VERSIONS = (
    _Version(
        controller="",
        folder="",
        # Beyond the second one, processes are slowed down until they barely run.
        limits=("memory.max", "memory.high"),
        used="memory.current",
        dropped_first=("active_file", "inactive_file"),
    ),
    _Version(
        controller="memory",
        folder="memory",
        limits=("memory.limit_in_bytes",),
        used="memory.usage_in_bytes",
        dropped_first=("total_active_file", "total_inactive_file"),
    ),
)


def measure() -> Ram:
    """Return what is available and what there is at the moment."""
    machine = psutil.virtual_memory()
    limited = tuple(_limits())
    return Ram(
        available=min((int(machine.available), *(each.available for each in limited))),
        total=min((int(machine.total), *(each.total for each in limited))),
    )


def _limits() -> Iterator[Ram]:
    """Yield what each limit allows: those of the process' groups and of the groups around them."""
    for version, group in _groups():
        try:
            used = int((group / version.used).read_text())
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root of a machine has no limit, and a container does not see the groups around it
        # The kernel counts both at different times.
        used = max(0, used - sum(int(counts.get(name, 0)) for name in version.dropped_first))
        for name in version.limits:
            limit = _read(group / name)
            if limit != UNLIMITED:
                yield Ram(max(0, int(limit) - used), int(limit))


def _groups() -> Iterator[tuple[_Version, Path]]:
    for line in _read(OWN_GROUPS, otherwise="").splitlines():
        _, controllers, own = line.split(":", 2)
        for version in VERSIONS:
            if version.controller in controllers.split(","):
                root = GROUPS / version.folder
                group = root / own.lstrip("/")
                yield from ((version, each) for each in (group, *group.parents) if each.is_relative_to(root))


def _read(file: Path, otherwise: str = UNLIMITED) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return otherwise
