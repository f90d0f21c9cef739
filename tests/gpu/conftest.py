"""The device of these tests: a CUDA card, or what GPU_TESTS_DEVICE names, to try the tests themselves without one."""

import os
from pathlib import Path

import pytest
import torch

from tests.support.tiny_models import save_tiny_qwen_image

DEVICE = os.environ.get("GPU_TESTS_DEVICE", "cuda")


@pytest.fixture(scope="session")
def device() -> str:
    """Return PyTorch's name of the device; without one, the test is skipped."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("There is no CUDA device.")
    return DEVICE


@pytest.fixture
def card(device: str) -> str:
    """Return the name of a device that is a CUDA card for certain: a CPU has no memory of its own to look at."""
    if device != "cuda":
        pytest.skip("This needs a CUDA device.")
    return device


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on the disk."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("gpu"))
