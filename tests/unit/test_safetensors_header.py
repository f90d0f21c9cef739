"""The header of a safetensors file is what the format's own library wrote, or is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imageserver.safetensors_header import DamagedHeader, read_header


def test_the_tensors_and_the_size_of_a_whole_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(2, 3), "b": torch.tensor(1.0)}, file, {"format": "pt"})
    header = read_header(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {"a": (2, 3), "b": ()}
    assert header.file_bytes == file.stat().st_size


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b'{"\xff": {}}', b'{"w": {"shape": [-1], "data_offsets": [0, 1]}}', b'{"w": ' + b"[" * 3000],
)
def test_anything_else_is_damaged(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "broken.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DamagedHeader):
        read_header(tmp_path / "broken.safetensors")
