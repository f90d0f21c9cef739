"""A machine's part in a Ray cluster: where the head is, what proves that it may join, and how a driver joins."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from imageserver.atomic_write import write_atomically
from imageserver.settings import Settings

HEAD = "head"
# What a node offers for each of its engines; Ray counts it.
RESOURCE = "engine"
# How long a process that has lost the head goes on before Ray ends it.
RECONNECT_SECONDS = 60
STDERR = 2


def token_file(settings: Settings) -> Path:
    """Return the file that Ray's processes read the token from; it keeps the token out of their environment."""
    return settings.resolve(settings.state_dir) / "cluster_token"


def establish_token(settings: Settings) -> str:
    """Write CLUSTER_TOKEN where Ray reads it, or make one for a head; return it, empty where there is none."""
    file = token_file(settings)
    if settings.cluster_token is not None:
        write_atomically(file, settings.cluster_token.get_secret_value().encode(), private=True)
    elif settings.cluster == HEAD and not file.exists():
        write_atomically(file, secrets.token_hex(32).encode(), private=True)
    return file.read_text().strip() if file.exists() else ""


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that Ray reads, for a node as for a driver: they must be the same everywhere."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file(settings)),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Else 3.11.2 and 3.11.7 would be strangers; what is pickled is the same for both.
        "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor",
        # Its handler of fatal signals prints the stacks of every thread.
        "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(RECONNECT_SECONDS),
        # An actor without GPUs of Ray's counting sees those of its machine: device_claim divides them.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def head_address(settings: Settings) -> str:
    """Return HOST:PORT of the head, which may be on this machine."""
    if settings.cluster != HEAD:
        return settings.cluster
    return f"{own_address(settings)}:{settings.cluster_port}"


def own_address(settings: Settings) -> str:
    """Return this machine's address as the others reach it: CLUSTER_ADDRESS, else the one that Ray finds."""
    if settings.cluster_address:
        return settings.cluster_address
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def join(settings: Settings) -> None:
    """Make this process a driver of the cluster; raises ConnectionError, and other errors of Ray's."""
    import ray

    with _silenced_stderr():
        ray.init(address=head_address(settings), log_to_driver=False, configure_logging=False)


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Keep Ray from repeating every second, in a format of its own, why it cannot connect."""
    kept = os.dup(STDERR)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
