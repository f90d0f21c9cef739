"""Divides the devices of one node among its seats, by locks in a folder, and tells the seats when the node will end.

An engine inherits the lock of its device, which is free only when both the seat and its engine are gone.
"""

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from imageserver.cluster.host.offered_devices import offered_devices
from imageserver.settings import Settings

# Set for the processes of a node that `--join` runs; on other nodes each seat finds out what `--join` would offer.
DEVICES_VARIABLE, FOLDER_VARIABLE = "CLUSTER_SEAT_DEVICES", "CLUSTER_SEAT_DIR"


class NoDeviceFree(Exception):
    """Ray has placed more engines on this machine than it has devices."""


@dataclass(frozen=True)
class DeviceClaim:
    """A device as torch names it, its name among this node's seats, the descriptor of its lock, a path for a socket."""

    device: str
    name: str
    descriptor: int
    socket: Path


@dataclass(frozen=True)
class SeatFolder:
    """The locks of a node's devices."""

    folder: Path
    devices: tuple[str, ...]

    @classmethod
    def of_this_node(cls) -> "SeatFolder":
        folder = os.environ.get(FOLDER_VARIABLE) or f"{tempfile.gettempdir()}/qwen-image-seats-{os.getuid()}"
        told = os.environ.get(DEVICES_VARIABLE)
        return cls(Path(folder), tuple(told.split(",")) if told is not None else offered_devices(Settings()))

    @property
    def variables(self) -> dict[str, str]:
        """What the seats of this node find it by."""
        return {FOLDER_VARIABLE: str(self.folder), DEVICES_VARIABLE: ",".join(self.devices)}

    @property
    def is_draining(self) -> bool:
        """Whether the node is about to end, and its engines accept no new jobs."""
        return self._drain_file.exists()

    @property
    def _drain_file(self) -> Path:
        return self.folder / "draining"

    def prepare(self) -> None:
        """Make the folder for a node that begins."""
        self._make_folder()
        self._drain_file.unlink(missing_ok=True)

    def drain(self) -> None:
        self._drain_file.touch()

    def claim(self) -> DeviceClaim:
        """Return a device that no other seat of this node has; raises NoDeviceFree, and PermissionError."""
        self._make_folder()
        for number, device in enumerate(self.devices):
            if (descriptor := self._lock(number)) is not None:
                name = f"{device}#{number + 1}" if self.devices.count(device) > 1 else device
                # One for each device, replaced by the next engine on it: whatever ends a seat, no rest grows.
                return DeviceClaim(device, name, descriptor, self.folder / f"{number}.sock")
        raise NoDeviceFree(f"All {len(self.devices)} devices of this machine have an engine already.")

    def has_engines(self) -> bool:
        """Return whether a seat, or an engine that has outlived it, holds a device."""
        for number in range(len(self.devices)):
            descriptor = self._lock(number)
            if descriptor is None:
                return True
            os.close(descriptor)
        return False

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not followed: whoever may write there could take an engine's socket for his own.
        if self.folder.lstat().st_uid != os.getuid():
            raise PermissionError(f"The folder {self.folder} belongs to somebody else; set TMPDIR to one of your own.")

    def _lock(self, number: int) -> int | None:
        descriptor = os.open(self.folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
