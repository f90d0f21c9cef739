"""A server's own node of its cluster: it starts before the server listens and ends after its engines."""

import importlib.util
import os
import socket
import subprocess
import sys

from imageserver import startup
from imageserver.cluster.nodes import membership
from imageserver.settings import IS_CHECKOUT, WORKING_DIR, Settings

JOIN_COMMAND = "bash start_server.sh --join" if IS_CHECKOUT else "python -m imageserver.cluster --join"
# The script reads no file of systemd's, so it has to be told; and it should start no second server beside systemd's.
INSTALL_RAY = (
    "CLUSTER=head bash start_server.sh --install-only" if IS_CHECKOUT else "pip install 'qwen-image-server[cluster]'"
)
STARTED = "started"
NO_SUCCESSOR = (
    "SIGUSR2 is refused with CLUSTER: this machine's node and its engines belong to the main process that runs. "
    "Restart the server instead; docs/operations.md says how a cluster is upgraded."
)
END_SECONDS = 10.0


class OwnNode:
    """The node where CLUSTER is set, nothing where it is not. It also ends with this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it belongs to the cluster; exits after one sentence where that cannot be.

        Nothing of Ray is imported here: it imports urllib3, and a worker that inherits that before gevent has patched
        it fails at every TLS connection.

        It runs as the user that this process acts as, who may be another than its own: only that user's processes can
        read the node's token and reach the sockets in its folder.
        """
        settings = self._settings
        if not settings.cluster:
            return
        refuse_windows(settings)
        require_ray(settings)
        require_token(settings)
        # In a session of its own: it ends after the server, not by the Ctrl+C that ends the server.
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "imageserver.cluster"], cwd=WORKING_DIR, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, start_new_session=True, user=os.geteuid(), group=os.getegid(),
        )  # fmt: skip
        assert self._keeper.stdout is not None
        with self._keeper.stdout as output:
            word, _, address = output.readline().decode().strip().partition(" ")
        if word != STARTED:
            raise SystemExit(self._keeper.wait() or 1)  # it has said why
        if settings.cluster == membership.HEAD:
            token = membership.token_file(settings).read_text()
            startup.say(f"Other machines offer their devices with: CLUSTER_TOKEN={token} {JOIN_COMMAND} {address}")

    def refuse_successor(self) -> None:
        """End this fork of the server's main process, which would replace it, with one sentence where CLUSTER is set.

        A second node in the folder and on the ports of the first would not start, and would overwrite its files.
        """
        if self._settings.cluster:
            startup.say(NO_SUCCESSOR)
            # Without what a main process does at its end: that one goes on.
            os._exit(1)

    def stop(self) -> None:
        if self._keeper is None:
            return
        self._keeper.terminate()
        try:
            self._keeper.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()


def refuse_windows(settings: Settings) -> None:
    """Exit with one sentence on Windows, where Ray supports no clusters of several machines."""
    if sys.platform == "win32":
        raise SystemExit(f"CLUSTER={settings.cluster} does not work on Windows, as Ray's clusters do not; use WSL 2.")


def require_ray(settings: Settings) -> None:
    """Exit with one sentence where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise SystemExit(f"CLUSTER={settings.cluster} needs Ray, which is not installed: {INSTALL_RAY} installs it.")


def require_token(settings: Settings) -> None:
    """Exit with one sentence where nothing proves that this machine may join."""
    try:
        token = membership.establish_token(settings)
    except OSError as error:
        raise SystemExit(f"{membership.token_file(settings)} cannot be used: {error.strerror}.") from None
    if not token:
        raise SystemExit(f"The cluster at {settings.cluster} asks for its token: set CLUSTER_TOKEN to the one it has.")


def require_no_other_head(settings: Settings) -> None:
    """Exit with one sentence where the port of the head that is to start is taken."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((membership.own_address(settings), settings.cluster_port)) != 0:
            return
    address = membership.head_address(settings)
    raise SystemExit(
        f"Port {settings.cluster_port} is in use, perhaps by another head: CLUSTER={address} joins that one, and "
        f"CLUSTER_PORT={settings.cluster_port + 1} starts a second cluster."
    )
