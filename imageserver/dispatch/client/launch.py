"""Find the server's dispatcher, or start it; whoever needs one does this, so a killed dispatcher comes back."""

import contextlib
import os
import subprocess
import sys
import time

from filelock import FileLock, Timeout

from imageserver.dispatch.client.dispatcher_process import ask_to_end, dispatchers_of, kill
from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.protocol.channel import Channel
from imageserver.protocol.messages import Hello
from imageserver.settings import IS_CHECKOUT, WORKING_DIR, Settings

START_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.02
# A dispatcher looks after its address every second, but one that is being started may have none for as long again.
PUBLISH_TIMEOUT_SECONDS = START_TIMEOUT_SECONDS


def connect(runtime_dir: RuntimeDir) -> tuple[Channel, int]:
    """Return a channel to the running dispatcher and its process id; raises OSError when none answers."""
    address, pid = runtime_dir.read()
    channel = Channel(address.connect())
    channel.send(Hello(role="worker", key=address.key, pid=os.getpid()))
    return channel, pid


def connect_or_start(runtime_dir: RuntimeDir, settings: Settings) -> tuple[Channel, int]:
    """Return a channel to the dispatcher and its process id; raises OSError when none answers and none can be started.

    One that lives but does not answer in time is ended first: two would have two engines on one device.
    """
    try:
        return connect(runtime_dir)
    except OSError:
        if not process_lives(runtime_dir.owner):
            raise ConnectionError("The server's main process is gone.") from None
    try:
        with FileLock(runtime_dir.launch_lock, timeout=START_TIMEOUT_SECONDS):
            try:
                return connect(runtime_dir)
            except OSError:
                return _connect_again(runtime_dir) or _start(runtime_dir, settings)
    except Timeout as error:
        raise TimeoutError("Another process is starting the dispatcher and does not finish.") from error


def stop(runtime_dir: RuntimeDir, timeout: float = 10.0) -> None:
    """End the dispatcher and wait until it is gone; one that does not end within `timeout` seconds is killed."""
    try:
        _, pid = runtime_dir.read()
    except OSError:
        return
    ask_to_end(pid)
    deadline = time.monotonic() + timeout
    while process_lives(pid):
        if time.monotonic() > deadline:
            kill(pid, runtime_dir.owner)
            return
        time.sleep(POLL_SECONDS)


def _connect_again(runtime_dir: RuntimeDir) -> tuple[Channel, int] | None:
    """Return a channel to a dispatcher that lives, once it has published its address again; one that does not is ended.

    Programs that clean up /tmp remove an address, and a worker may end before the dispatcher that it starts has one.
    """
    pids, deadline = dispatchers_of(runtime_dir.owner), time.monotonic() + PUBLISH_TIMEOUT_SECONDS
    while any(map(process_lives, pids)):
        with contextlib.suppress(OSError):
            return connect(runtime_dir)
        if time.monotonic() > deadline:
            for pid in pids:
                kill(pid, runtime_dir.owner)
            break
        time.sleep(POLL_SECONDS)
    return None


def _start(runtime_dir: RuntimeDir, settings: Settings) -> tuple[Channel, int]:
    runtime_dir.address_file.unlink(missing_ok=True)
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    process = subprocess.Popen(
        [sys.executable, "-m", "imageserver.dispatch", str(runtime_dir.owner)],
        stdin=subprocess.PIPE,
        cwd=WORKING_DIR,
        # Python would import from that folder too, which of an installed wheel is any folder of the user's.
        env=os.environ if IS_CHECKOUT else os.environ | {"PYTHONSAFEPATH": "1"},
        creationflags=flags,
    )
    assert process.stdin is not None
    process.stdin.write(settings.model_dump_json().encode())
    process.stdin.close()
    if sys.platform != "win32":
        process.wait()  # the detached half goes on
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            return connect(runtime_dir)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
