"""What an error of the device means: its memory ran out, or it can never be used again by this process.

Sources: PyTorch's `c10/cuda/CUDACachingAllocator.cpp`, `c10/core/impl/alloc_cpu.cpp`, `aten/src/ATen/cuda/Exceptions.h`
(2.13) and its issues 112377 (NVML) and 188008 (an allocator that fails for good).
"""

import contextlib
import logging
import os
import re
import traceback
from collections.abc import Iterator

import torch

logger = logging.getLogger(__name__)

EXIT_CODE = 70
# Only PyTorch's own allocator raises OutOfMemoryError; the driver, cuBLAS, cuDNN and the host's allocator do not.
OUT_OF_MEMORY = re.compile(
    r"out of memory|_ALLOC(ATION)?_FAILED\b|NVML_SUCCESS ==|DefaultCPUAllocator: (can't allocate|not enough) memory"
)
BROKEN_ALLOCATOR = re.compile(r"INTERNAL ASSERT FAILED at .*CUDACachingAllocator")


class DeviceLost(Exception):
    """The device, or a card of the group that it is, cannot be used by this process again; the message says why."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a smaller piece of work may succeed; such an error harms no later call."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def is_lost(error: BaseException) -> bool:
    """Return whether every later call of this process would fail too."""
    if isinstance(error, DeviceLost):
        return True
    if is_out_of_memory(error):
        return False
    broken = isinstance(error, RuntimeError) and BROKEN_ALLOCATOR.search(str(error)) is not None
    return broken or isinstance(error, torch.AcceleratorError)


def end_if_lost(error: BaseException) -> None:
    """End the process where the device is lost: the dispatcher starts a new one."""
    if is_lost(error):
        logger.critical("The device is lost; the engine ends.", exc_info=error)
        os._exit(EXIT_CODE)


@contextlib.contextmanager
def ending_if_lost() -> Iterator[None]:
    """End the process where an error that nobody has handled inside means a lost device."""
    try:
        yield
    except Exception as error:
        end_if_lost(error)
        raise


def drop_frames(error: BaseException) -> None:
    """Drop the local variables of the functions that failed: as long as the error lives, so would their tensors."""
    seen: list[BaseException] = []
    chained: BaseException | None = error
    while chained is not None and chained not in seen:
        traceback.clear_frames(chained.__traceback__)
        seen.append(chained)
        chained = chained.__cause__ or chained.__context__
