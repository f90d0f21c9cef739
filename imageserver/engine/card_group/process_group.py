"""The process group of the ranks: tensors between their cards, and the meshes for context parallelism.

Source: PyTorch, "Distributed communication package" (2.13).
"""

import contextlib
import logging
import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore
from torch.distributed.device_mesh import init_device_mesh

from imageserver.engine.card_group.described import Described, TensorValue
from imageserver.engine.card_group.values import describe, rebuild

logger = logging.getLogger(__name__)

BACKENDS = {"cuda": "nccl", "npu": "hccl", "xpu": "xccl"}
JOIN_SECONDS = 60.0
# These let the timeout be changed once the ranks have met.
ADJUSTABLE = ("gloo", "nccl")
# No forward takes longer; a rank that dies or falls silent is noticed long before by other means.
FORWARD_SECONDS = 3600.0


class ProcessGroup:
    """The ranks that have met, as one of them sees it."""

    def __init__(self, rank: int, size: int, device: torch.device, store: int, start: int) -> None:
        """Meet the others of one start by an open file instead of a port; raises RuntimeError where one is missing."""
        self.rank = rank
        self.size = size
        self.device = device
        self._left = False
        self._backend = BACKENDS.get(device.type, "gloo")
        # Gloo would listen on the address of the machine's name.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
        # The file has no name, and ends with the processes that hold it.
        files = PrefixStore(str(start), FileStore(f"/proc/self/fd/{store}", -1))
        files.set_timeout(timedelta(seconds=JOIN_SECONDS))
        adjustable = self._backend in ADJUSTABLE
        # PyTorch names groups by their count, which a join that failed has raised here and on no new rank.
        dist.distributed_c10d._world.group_count = 0
        dist.init_process_group(
            self._backend, store=files, rank=rank, world_size=size,
            timeout=timedelta(seconds=JOIN_SECONDS if adjustable else FORWARD_SECONDS),
            device_id=None if device.type == "cpu" else device,
        )  # fmt: skip
        try:
            self.meshes = {degree: self._mesh(degree) for degree in range(2, size + 1) if size % degree == 0}
        except Exception:
            # Nobody holds it yet who could leave it, and the next start meets others in this process.
            self.leave()
            raise
        if adjustable:
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=FORWARD_SECONDS))

    def send(self, value: Any, to: int) -> None:
        """Send the tensors of a value in the order of its description."""
        tensors: list[torch.Tensor] = []
        describe(value, tensors)
        for tensor in tensors:
            dist.send(tensor.to(self.device).contiguous(), to)

    def receive(self, described: Described, sender: int) -> Any:
        """Return a value whose tensors another rank sends."""

        def one(tensor: TensorValue) -> torch.Tensor:
            empty = torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype), device=self.device)
            dist.recv(empty, sender)
            return empty.cpu() if tensor.on_host else empty

        return rebuild(described, one)

    def abort(self) -> None:
        """Free a thread that waits for a lost rank, from any other thread; gloo notices a dead rank by itself."""
        if self._backend != "gloo" and not self._left:
            with contextlib.suppress(Exception):
                dist.distributed_c10d._abort_process_group()

    def leave(self) -> None:
        """Forget the others, who may be gone."""
        self.abort()
        self._left = True
        if dist.is_initialized():
            try:
                dist.destroy_process_group()
            except Exception as error:
                logger.warning("Leaving the process group failed: %s", error)

    def _mesh(self, degree: int) -> Any:
        """Return the mesh in which each `degree` ranks in a row share the tokens of a forward."""
        shape = (self.size // degree, 1, degree)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=("calls", "ring", "ulysses"))
