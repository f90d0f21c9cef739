"""The GPU check runs on a CPU in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# What only a card can do.
NEEDS_A_CARD = ("attention _native", "int8")


@pytest.mark.long
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
