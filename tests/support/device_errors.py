"""Errors as PyTorch raises them on a card, and what stands for the end of the engine's process."""

import torch

from imageserver.engine.device_errors import DeviceLost

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously."),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1015'),
    RuntimeError(
        '[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can\'t allocate memory: you tried to '
        "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: not enough memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
    MemoryError("Unable to allocate 4.00 TiB for an array"),
]  # fmt: skip
DEVICE_LOST = [
    DeviceLost("The group of cards is broken up: a card has lost its process."),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError('!handles_.at(i) INTERNAL ASSERT FAILED at "c10/cuda/CUDACachingAllocator.cpp":487'),
]


class Ended(BaseException):
    """Stands for the end of the process."""
