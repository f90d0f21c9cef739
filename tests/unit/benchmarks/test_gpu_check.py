"""The GPU check runs on a CPU in small, and its figures become a table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import GPU_MARKERS, PAGE, fill, gpu_table

ROOT = PAGE.parents[1]
# What only a card can do.
NEEDS_A_CARD = ("attention _native", "int8")


@pytest.mark.xdist_group("gpu check")
@pytest.mark.timeout(240)
def test_the_tiny_check_prints_its_figures_on_a_cpu(tmp_path: Path) -> None:
    stages = ("machine", "steps", "encoder")
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--output", str(tmp_path), *stages]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230)
    assert ended.returncode == 0, ended.stderr
    figures = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(figures) >= 20
    assert (tmp_path / "figures.jsonl").read_text() == ended.stdout
    failed = [each["figure"] for each in figures if each["value"] == "fails" or "failed" in each["figure"]]
    assert [figure for figure in failed if not figure.startswith(NEEDS_A_CARD)] == []
    assert {each["stage"] for each in figures} == set(stages)


def test_figures_become_one_row_each_between_their_markers() -> None:
    line = json.dumps({"stage": "steps", "figure": "step | 512", "value": 0.1, "unit": "s", "at": 3.0, "bare": 0.2})
    table = gpu_table([line])
    assert table.splitlines()[2:] == ["| steps | step / 512 | 0.1 s | bare 0.2 |"]
    page = f"before\n{GPU_MARKERS[0]}\nold\n{GPU_MARKERS[1]}\nafter"
    assert fill(page, table, GPU_MARKERS) == f"before\n{GPU_MARKERS[0]}\n{table}\n{GPU_MARKERS[1]}\nafter"
