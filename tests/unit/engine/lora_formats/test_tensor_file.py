"""The memory for a file is asked for before its numbers are read, and afterwards the file itself is not needed."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.lora_formats.adapter import read_adapter
from imageserver.engine.lora_formats.model_layers import ModelLayers
from imageserver.engine.lora_formats.tensor_file import TensorFile

SIDE, RANK = 8, 2
MODEL = ModelLayers({"transformer": torch.nn.ModuleDict({"linear": torch.nn.Linear(SIDE, SIDE)})}, "transformer")
LOKR = {"linear.lokr_w1": torch.ones(2, 2), "linear.lokr_w2": torch.ones(4, 4)}
LOHA = {f"linear.hada_{name}": torch.ones(SIDE, RANK) for name in ("w1_a", "w2_a")} | {
    f"linear.hada_{name}": torch.ones(RANK, SIDE) for name in ("w1_b", "w2_b")
}


def saved(folder: Path, value: float = 1.0, dtype: torch.dtype = torch.float32) -> Path:
    matrices = {"linear.lora_A.weight": torch.full((RANK, SIDE), value), "linear.lora_B.weight": torch.ones(SIDE, RANK)}
    save_file({name: tensor.to(dtype) for name, tensor in matrices.items()}, folder / "a.safetensors")
    return folder / "a.safetensors"


def test_a_file_that_is_overwritten_leaves_what_was_read_as_it_was(tmp_path):
    path = saved(tmp_path)
    size = path.stat().st_size
    tensors = read_adapter(path, MODEL)["transformer"].tensors
    with path.open("r+b") as file:
        file.write(bytes(size))
    assert all((tensor == 1).all() for tensor in tensors.values())


@pytest.mark.parametrize(("dtype", "number_bytes"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float8_e4m3fn, 2)])
def test_a_file_takes_the_memory_of_the_numbers_that_it_is_computed_with(dtype, number_bytes, tmp_path):
    assert asked(saved(tmp_path, dtype=dtype)) == 2 * RANK * SIDE * number_bytes


def test_what_is_computed_from_it_counts_too(tmp_path):
    save_file(LOKR, tmp_path / "lokr.safetensors")
    assert asked(tmp_path / "lokr.safetensors") == 4 * (2 * 2 + 4 * 4)
    save_file(LOHA, tmp_path / "loha.safetensors")
    assert asked(tmp_path / "loha.safetensors") == 4 * (4 * SIDE * RANK + RANK * RANK * 2 * SIDE)


def test_no_number_is_read_before_there_is_memory_for_it(tmp_path, monkeypatch):
    def read(file: TensorFile) -> Any:
        pytest.fail("its numbers were read")

    def full(size: int) -> contextlib.AbstractContextManager[None]:
        raise TimeoutError

    monkeypatch.setattr(TensorFile, "checked", read)
    with pytest.raises(TimeoutError):
        read_adapter(saved(tmp_path), MODEL, full)


def test_a_file_that_is_overwritten_while_it_waits_for_memory_is_not_read(tmp_path):
    path = saved(tmp_path)

    def overwritten(size: int) -> contextlib.AbstractContextManager[None]:
        with path.open("ab") as file:
            file.write(b"more")
        return contextlib.nullcontext()

    with pytest.raises(OSError, match="it is being replaced"):
        read_adapter(path, MODEL, overwritten)


def asked(path: Path) -> int:
    """Return the bytes that reading a file asks for."""
    sizes: list[int] = []

    def reserve(size: int) -> contextlib.AbstractContextManager[None]:
        sizes.append(size)
        return contextlib.nullcontext()

    read_adapter(path, MODEL, reserve)
    return sizes[0]
