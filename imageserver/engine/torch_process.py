"""The set-up of a process that computes with torch, before it imports it."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


def prepare_environment() -> None:
    """Set the variables that torch and the hub libraries read on import; the user's own values win."""
    # Threads that spin at every barrier starve each other when another process wants a core: one 512 x 512 image
    # took 10 s instead of 0.8 s beside a busy neighbour on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Images and batches of many sizes leave holes in CUDA's memory: out of memory with gigabytes free. PyTorch before
    # 2.9 reads only the second name, later ones only the first where both are set.
    if not any(name in os.environ for name in ALLOCATOR_VARIABLES) and sys.platform != "win32":
        os.environ.update(dict.fromkeys(ALLOCATOR_VARIABLES, "expandable_segments:True"))


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
