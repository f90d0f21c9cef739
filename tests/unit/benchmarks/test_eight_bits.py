"""What weights of 8 bits cost is measured as far as the device goes, and what it cannot do is skipped with a reason."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import eight_bits
from imageserver.engine.devices import memory_plans
from tests.support.full_mode import needs_full_mode
from tests.support.paths import OPTIONAL, ROOT

COMMAND = [sys.executable, "-m", "benchmarks.gpu.steps", "--tiny", "eight_bits"]


def figures(**environment: str) -> dict[str, Any]:
    done = subprocess.run(COMMAND, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["figure"]: each for each in told}


def test_what_the_device_cannot_do_is_skipped_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eight_bits, "call_of", lambda check, side: {})
    monkeypatch.setattr(eight_bits, "generate", lambda pipeline, wanted: [np.zeros(1)])
    monkeypatch.setattr(memory_plans.importlib.util, "find_spec", lambda package: None)
    check: Any = SimpleNamespace(
        stage="eight_bits", scale=SimpleNamespace(sides={64: (2, 6)}), device=torch.device("cpu"), held=lambda: 0.0,
        pipeline=SimpleNamespace(transformer=None), served=SimpleNamespace(forward=lambda **call: (torch.ones(1),)),
    )  # fmt: skip
    eight_bits.eight_bits(check)
    told = {each["figure"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    reasons = {name: told[name]["note"] for name in told if told[name]["value"] == "skipped"}
    assert set(reasons) == {"int8", "int8, compiled", "float8", "float8, compiled"}
    assert reasons["int8"] == "it needs the package torchao"
    assert "compute capability 8.9" in reasons["float8, compiled"]


@needs_full_mode
@pytest.mark.timeout(300)
def test_int8_is_measured_eager_and_compiled_and_leaves_the_weights_as_they_were() -> None:
    told = figures(PYTHONPATH=f"{ROOT}:{OPTIONAL}")
    for how in ("int8", "int8, compiled"):
        assert 0 < told[f"{how}, forward 64"]["output_distance_percent"] < 5
        assert told[f"{how}, forward 64"]["value"] > 0
    assert told["int8, forward 64"]["compiled_graphs"] == told["whole weights, forward 64"]["compiled_graphs"] == 0
    assert told["int8, compiled, forward 64"]["compiled_graphs"] > 0, "or these were eager forwards too"
    assert told["whole weights, forward 64"]["output_distance_percent"] == 0
    assert told["distance of whole weights afterwards"]["value"] == 0
    for how in ("float8", "float8, compiled"):
        assert told[how]["value"] == "skipped"
        assert "compute capability 8.9" in told[how]["note"]
