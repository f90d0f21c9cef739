"""The RAM of a container is what its limit leaves, not what the machine has, wherever it is read."""

from pathlib import Path

import psutil
import pytest
import torch
from flask import Flask

from benchmarks.machine import describe_machine
from imageserver import ram
from imageserver.api.dialects.automatic1111 import catalog
from imageserver.cli import machine
from imageserver.engine.devices import devices
from imageserver.settings import Settings
from tests.support.paths import ROOT

GIB = 2**30
# What the first version shows where there is no limit.
NO_LIMIT = 0x7FFFFFFFFFFFF000


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 400 of 512 GiB free, whose control groups are files of the test."""
    memory = type("Memory", (), {"available": 400 * GIB, "total": 512 * GIB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(ram, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(ram, "OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path / "cgroup"


def limit(group: Path, most: int | str, used: int, files: int = 0, high: int | str = "max") -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.high").write_text(f"{high}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - files}\nactive_file 0\ninactive_file {files}\n")


def limit_of_the_first_version(group: Path, most: int, used: int, files: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(f"{most}\n")
    (group / "memory.usage_in_bytes").write_text(f"{used}\n")
    # Those of the group alone, and with the groups in it.
    (group / "memory.stat").write_text(f"inactive_file 0\ntotal_active_file 0\ntotal_inactive_file {files}\n")


def in_gib() -> tuple[float, float]:
    found = ram.measure()
    return found.available / GIB, found.total / GIB


@pytest.mark.parametrize(
    ("most", "used", "files", "left"),
    [
        (16 * GIB, 3 * GIB, 0, (13, 16)),
        ("max", 3 * GIB, 0, (400, 512)),
        (900 * GIB, 3 * GIB, 0, (400, 512)),
        # A model that was just downloaded fills the limit, and gives way.
        (16 * GIB, 16 * GIB, 14 * GIB, (14, 16)),
        (16 * GIB, 17 * GIB, 0, (0, 16)),
        (16 * GIB, 2 * GIB, 3 * GIB, (16, 16)),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    groups: Path, most: int | str, used: int, files: int, left: tuple[int, int]
) -> None:
    limit(groups, most, used, files)
    assert in_gib() == left


def test_the_lowest_limit_of_a_group_and_of_those_around_it_counts(groups: Path) -> None:
    ram.OWN_GROUPS.write_text("3:cpuset:/other\n0::/system.slice/qwen-image-server.service\n")
    limit(groups / "system.slice", 8 * GIB, 6 * GIB)
    limit(groups / "system.slice" / "qwen-image-server.service", 16 * GIB, GIB)
    assert in_gib() == (2, 8)


def test_a_limit_from_which_on_processes_are_slowed_down_counts_too(groups: Path) -> None:
    limit(groups, 16 * GIB, 3 * GIB, high=12 * GIB)
    assert in_gib() == (9, 12)


@pytest.mark.parametrize(("most", "left"), [(16 * GIB, (14, 16)), (NO_LIMIT, (400, 512))])
def test_limits_of_the_first_version_count(groups: Path, most: int, left: tuple[int, int]) -> None:
    ram.OWN_GROUPS.write_text("5:cpu,memory:/docker/one\n4:name=systemd:/docker/one\n0::/\n")
    limit_of_the_first_version(groups / "memory" / "docker" / "one", most, 6 * GIB, 4 * GIB)
    limit_of_the_first_version(groups / "memory", NO_LIMIT, 90 * GIB)
    assert in_gib() == left


def test_a_container_that_sees_its_own_group_as_the_root_has_its_limit(groups: Path) -> None:
    """The kernel names the group as the machine sees it, and its files are where the root's would be."""
    ram.OWN_GROUPS.write_text("5:memory:/docker/one\n")
    limit_of_the_first_version(groups / "memory", 16 * GIB, 6 * GIB)
    assert in_gib() == (10, 16)


def test_without_control_groups_the_machine_says_what_is_free(groups: Path) -> None:
    assert in_gib() == (400, 512), "a group without a limit's file"
    ram.OWN_GROUPS.unlink()
    assert in_gib() == (400, 512), "another system than Linux"


def test_whatever_tells_or_plans_with_ram_knows_the_limit(groups: Path) -> None:
    limit(groups, 16 * GIB, 3 * GIB)
    assert devices.free_memory(torch.device("cpu")) == 13 * GIB
    [doctor] = (finding.sentence for finding in machine.inspect(Settings(_env_file=None)) if finding.name == "ram")
    assert doctor == "13.0 of 16.0 GiB of RAM are free."
    assert describe_machine()["memory_gib"] == 16
    app = Flask(__name__)
    app.register_blueprint(catalog.blueprint)
    assert app.test_client().get("/sdapi/v1/memory").get_json()["ram"] == {
        "free": 13 * GIB,
        "used": 3 * GIB,
        "total": 16 * GIB,
    }


def test_nothing_else_asks_the_machine_for_its_ram() -> None:
    asking = {
        str(file.relative_to(ROOT))
        for folder in ("imageserver", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if "virtual_memory" in file.read_text(encoding="utf-8")
    }
    assert asking == {"imageserver/ram.py"}
