"""A GGUF file is judged by its header before a library that believes every length reads it."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from imageserver.engine.models.weight_files.gguf_header import complaint

START = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
ARRAY_OF_NUMBERS = struct.pack("<Q1sII", 1, b"a", 9, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file as the package itself writes it: texts, numbers, lists, and weights of two kinds."""
    writer = gguf.GGUFWriter(tmp_path / "whole.gguf", "qwen_image")
    writer.add_uint32("a.number", 7)
    writer.add_bool("a.flag", True)
    writer.add_array("a.list", [1, 2, 3])
    writer.add_array("some.texts", ["one", "two"])
    weights = np.ones((4, 64), np.float32)
    writer.add_tensor("plain", weights)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("quantized", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "whole.gguf"


def test_a_whole_file_has_no_fault(file: Path) -> None:
    assert complaint(file) is None


def test_a_file_that_was_cut_off_is_told_with_its_sizes(file: Path) -> None:
    content = file.read_bytes()
    end = complaint_of_cut(file, content, len(content) // 2)
    assert end <= len(content)
    assert complaint_of_cut(file, content, end - 1) == end
    file.write_bytes(content[:end])
    assert complaint(file) is None
    file.write_bytes(content[:100])
    assert complaint(file) == "has no readable header"


def complaint_of_cut(file: Path, content: bytes, size: int) -> int:
    """Return the size that a file should have that has only `size` bytes."""
    file.write_bytes(content[:size])
    found = complaint(file)
    assert found is not None
    assert found.startswith(f"has {size} of ")
    return int(found.split()[3])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\3\4" + bytes(40), "is not a GGUF file"),
        (b"GGUF", "has no readable header"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "has no readable header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "has no readable header"),
        # The package collects a trillion empty values, until the memory is full.
        (START + ARRAY_OF_NUMBERS + struct.pack("<Q", 2**40), "has no readable header"),
        (START + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 2**40), "has no readable header"),
        (START + struct.pack("<Q1sIQ", 1, b"a", 8, 2**40), "has no readable header"),
        (START + struct.pack("<Q1sI", 1, b"a", 99) + bytes(40), "has no readable header"),
        (START + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1) * 3000, "has no readable header"),
    ],
)
def test_a_length_that_cannot_be_true_is_not_believed(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    assert complaint(tmp_path / "broken.gguf") == sentence
