"""The folder in which one server's processes find each other; two servers on one machine never share a dispatcher.

The owner is the process whose life the dispatcher follows: gunicorn's arbiter, or the process that runs `serve`.
"""

import contextlib
import getpass
import hashlib
import json
import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from imageserver.atomic_write import write_atomically
from imageserver.dispatch.client.dispatcher_process import kill
from imageserver.protocol.channel import Address

if sys.platform == "win32":
    import ctypes

# The moment of a process's start is counted from that of the machine.
CLOCK_TOLERANCE_SECONDS = 2.0
# Bytes of a Unix socket's path.
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103


@dataclass(frozen=True)
class RuntimeDir:
    """The files of one server's dispatcher, named by the process id of its owner."""

    owner: int

    @property
    def folder(self) -> Path:
        """The private folder that holds them, short enough for a Unix socket's path."""
        # By number: in a container the user may have no name. As the workers of gunicorn's `--user` have it.
        user = os.geteuid() if hasattr(os, "geteuid") else getpass.getuser()
        folder = Path(tempfile.gettempdir()) / f"qwen-image-server-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # Not followed: whoever may write beside it could lead us to other files of ours.
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or (hasattr(os, "geteuid") and state.st_uid != os.geteuid()):
            raise PermissionError(f"The folder {folder} belongs to somebody else; set TMPDIR to a folder of your own.")
        return folder

    def require(self, *, has_store: bool) -> None:
        """Exit with one sentence where the folder cannot be used, or is too deep for the sockets of a server in it."""
        try:
            socket = self.store_socket(self.owner) if has_store else self.socket_path
        except OSError as error:
            raise SystemExit(f"The server's processes have no place to meet: {error}") from None
        if sys.platform != "win32" and len(os.fsencode(str(socket))) > MAX_SOCKET_PATH:
            raise SystemExit(f"The path {socket} is too long for a Unix socket; set TMPDIR to a shorter one.")

    @property
    def address_file(self) -> Path:
        """Written by the dispatcher once it listens."""
        return self.folder / f"{self.owner}.json"

    @property
    def launch_lock(self) -> Path:
        """Held by the process that starts a dispatcher."""
        return self.folder / f"{self.owner}.lock"

    @property
    def socket_path(self) -> Path:
        """The Unix socket that the dispatcher listens on."""
        return self.folder / f"{self.owner}.sock"

    def store_socket(self, worker: int) -> Path | None:
        """Return the Unix socket of the store process of a worker, None where there are none."""
        return None if sys.platform == "win32" else self.folder / f"{self.owner}.store-{worker}"

    def model_file(self, seat: int) -> Path:
        """Return the file with what MODEL=auto meant on a seat when the server started; it outlives the dispatcher."""
        return self.folder / f"{self.owner}.model-{seat}"

    @property
    def far_choices_file(self) -> Path:
        """The file with what MODEL=auto has meant on the other machines of a cluster; it outlives the dispatcher."""
        return self.folder / f"{self.owner}.far-models"

    def keys_file(self, source: Path | None) -> Path:
        """Return the file with the keys that were accepted last of API_KEYS_FILE; a reload may name another source."""
        return self.folder / f"{self.owner}.keys-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"

    def write(self, address: Address, pid: int) -> None:
        """Publish `address`, readable by this user alone."""
        content = {"path": address.path, "port": address.port, "key": address.key, "pid": pid}
        write_atomically(self.address_file, json.dumps(content).encode(), private=True)

    def read(self) -> tuple[Address, int]:
        """Return the published address and the dispatcher's process id; raises OSError when there is none."""
        try:
            content = json.loads(self.address_file.read_text())
            return Address(path=content["path"], port=content["port"], key=content["key"]), int(content["pid"])
        except (ValueError, KeyError, TypeError) as error:
            raise FileNotFoundError(f"{self.address_file} is not an address file.") from error

    def is_first_to_announce(self) -> bool:
        """Return True to exactly one process of this server, which then prints the banner."""
        try:
            (self.folder / f"{self.owner}.announced").touch(exist_ok=False)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        for file in self.folder.glob(f"{self.owner}.*"):
            with contextlib.suppress(OSError):
                file.unlink()

    def remove_stale(self) -> None:
        """Delete the files of servers that have ended, and kill dispatchers that hang and have outlived them."""
        for file in self.folder.glob("*.*"):
            owner = file.name.split(".")[0]
            with contextlib.suppress(OSError):
                if owner.isdigit() and not (process_lives(int(owner)) and _is_of(int(owner), file)):
                    if file.suffix == ".json" and (pid := RuntimeDir(int(owner)).read()[1]) != os.getpid():
                        kill(pid, int(owner))
                    file.unlink()


def _is_of(pid: int, file: Path) -> bool:
    """Return whether a file is a running process's own: in a container the next server has the id of the last one."""
    if file.suffix == ".lock":
        return True  # it says nothing, and may be held
    try:
        return file.stat().st_mtime > psutil.Process(pid).create_time() - CLOCK_TOLERANCE_SECONDS
    except psutil.Error:
        return True


def process_lives(pid: int) -> bool:
    """Return whether a process with this id runs; one that has ended but was not reaped yet does not."""
    if sys.platform == "win32":
        handle = ctypes.windll.kernel32.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return False
        alive: bool = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0x102  # WAIT_TIMEOUT
        ctypes.windll.kernel32.CloseHandle(handle)
        return alive
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Look it up, on Linux; the first process of a container may reap after seconds, or never."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "Z"
