"""The GPU check runs on a CPU in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import TINY_STAGES
from tests.support.full_mode import needs_full_mode
from tests.support.paths import ROOT

# What only a card can do.
NEEDS_A_CARD = ("attention _native",)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_tiny_check_prints_its_figures_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny"]
    environment = os.environ | {"OUT": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=230)
    assert ended.returncode == 0, ended.stderr
    figures = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(figures) >= 20
    assert (tmp_path / "figures.jsonl").read_text() == ended.stdout
    failed = [each["figure"] for each in figures if each["value"] == "fails" or "failed" in each["figure"]]
    assert [figure for figure in failed if not figure.startswith(NEEDS_A_CARD)] == []
    assert {each["stage"] for each in figures} == set(TINY_STAGES)
    [guided] = [each for each in figures if "clients with guidance" in each["figure"]]
    assert guided["lookahead_alone"] > 0
    [mixed] = [each for each in figures if "jobs of random sizes" in each["figure"]]
    assert (mixed["value"], mixed["sentences"]) == (0, [])


@needs_full_mode
@pytest.mark.timeout(360)
def test_the_stages_that_start_servers_end_in_time_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--output", str(tmp_path), "smoke", "http"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=350)
    assert ended.returncode == 0, ended.stderr
    told = {each["figure"] for each in map(json.loads, ended.stdout.splitlines())}
    assert {"image of a killed engine, after the kill", "one client over bare pipe()"} <= told
