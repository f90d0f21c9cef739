"""The free RAM of a container is what its limit leaves, not what the machine has."""

from pathlib import Path

import pytest
import torch

from imageserver.engine.devices import devices, ram

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 400 GiB free, whose control groups are files of the test."""
    monkeypatch.setattr(ram.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 400 * GIB}))
    monkeypatch.setattr(ram, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(ram, "OWN_GROUP", tmp_path / "own")
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path / "cgroup"


def limit(group: Path, most: int | str, used: int, files: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - files}\nactive_file 0\ninactive_file {files}\n")


@pytest.mark.parametrize(
    ("most", "used", "files", "left"),
    [
        (16 * GIB, 3 * GIB, 0, 13 * GIB),
        ("max", 3 * GIB, 0, 400 * GIB),
        (900 * GIB, 3 * GIB, 0, 400 * GIB),
        # A model that was just downloaded fills the limit, and gives way.
        (16 * GIB, 16 * GIB, 14 * GIB, 14 * GIB),
        (16 * GIB, 17 * GIB, 0, 0),
    ],
)
def test_a_container_has_what_its_limit_leaves(groups: Path, most: int | str, used: int, files: int, left: int) -> None:
    limit(groups, most, used, files)
    assert devices.free_memory(torch.device("cpu")) == left


def test_the_lowest_limit_of_a_group_and_of_those_around_it_counts(groups: Path) -> None:
    ram.OWN_GROUP.write_text("3:cpuset:/other\n0::/system.slice/qwen-image-server.service\n")
    limit(groups / "system.slice", 8 * GIB, 6 * GIB)
    limit(groups / "system.slice" / "qwen-image-server.service", 16 * GIB, GIB)
    assert ram.available_bytes() == 2 * GIB


def test_without_control_groups_the_machine_says_what_is_free(groups: Path) -> None:
    assert ram.available_bytes() == 400 * GIB, "a group without a limit's file"
    ram.OWN_GROUP.unlink()
    assert ram.available_bytes() == 400 * GIB, "another system than Linux"
