"""The GPU check: its stages, their limits, and the table that its figures become."""

import json
import os
import re
import signal
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine
from benchmarks.gpu import __main__ as gpu_check
from benchmarks.gpu import machine_figures
from benchmarks.gpu.__main__ import STAGES, TINY_STAGES, GpuStage, StageRun
from benchmarks.report import GPU_MARKERS, fill, gpu_table
from tests.support.paths import ROOT

# An attribute with an underscore of anything but the object itself.
PRIVATE = re.compile(r"(?<!\bself)(?<!\bcls)\._(?!_)\w+")


def test_figures_become_one_row_each_between_their_markers() -> None:
    line = json.dumps({"stage": "steps", "figure": "step | 512", "value": 0.1, "unit": "s", "at": 3.0, "bare": 0.2})
    table = gpu_table([line])
    assert table.splitlines()[2:] == ["| steps | step / 512 | 0.1 s | bare 0.2 |"]
    page = f"before\n{GPU_MARKERS[0]}\nold\n{GPU_MARKERS[1]}\nafter"
    assert fill(page, table, GPU_MARKERS) == f"before\n{GPU_MARKERS[0]}\n{table}\n{GPU_MARKERS[1]}\nafter"


def test_the_row_of_the_machine_says_when_it_was_measured_and_with_which_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.importlib.metadata, "version", {"torch": "2.13.0", "torchao": "0.18.0"}.__getitem__)
    monkeypatch.setattr(machine_figures.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine.importlib.metadata, "PackageNotFoundError", KeyError)
    machine_figures.main()
    row = gpu_table(capsys.readouterr().out.splitlines()).splitlines()[2]
    assert '"torch": "2.13.0", "torchao": "0.18.0"' in row
    assert f"date {datetime.now(UTC):%Y-%m}" in row


@pytest.mark.parametrize(
    ("arguments", "stages"),
    [(["--tiny"], TINY_STAGES), ([], tuple(STAGES)), (["--tiny", "http", "machine"], ("http", "machine"))],
)
def test_a_check_without_names_runs_the_stages_that_the_device_is_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], stages: tuple[str, ...]
) -> None:
    asked: list[str] = []

    def stage(self: StageRun, name: str, **options: Any) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(StageRun, "stage", stage)
    monkeypatch.setattr(gpu_check, "install_wheels", lambda environment: None)
    assert gpu_check.main(["--output", str(tmp_path), *arguments]) == 0
    assert tuple(asked) == stages


def test_a_stage_that_passes_its_limit_is_ended_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asleep = GpuStage(1, "timeit", ("-n", "1", "import time; time.sleep(60)"), tiny=False)
    monkeypatch.setitem(STAGES, "asleep", asleep)
    monkeypatch.setitem(STAGES, "short", GpuStage(30, "timeit", ("-n", "1", "pass"), tiny=False))
    with closing(StageRun(tmp_path)) as run:
        # Of a shell's background jobs SIGINT is ignored, and their processes inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        ends = [run.stage(name, tiny=False, environment=dict(os.environ)) for name in ("asleep", "short")]
        signal.signal(signal.SIGINT, before)
    first, second = map(json.loads, (tmp_path / "figures.jsonl").read_text().splitlines())
    assert ends == [False, True]
    assert 1 <= first["value"] < 30, "of the 60 that it wants"
    assert (first["figure"] != "seconds, status 0", second["figure"]) == (True, "seconds, status 0")
    assert "KeyboardInterrupt" in capfd.readouterr().err


@pytest.mark.parametrize("source", sorted((ROOT / "benchmarks" / "gpu").glob("*.py")), ids=lambda source: source.stem)
def test_the_check_measures_through_what_the_engine_offers(source: Path) -> None:
    assert PRIVATE.findall(source.read_text()) == []
