"""The GPU check's stage `compile`, with a model that compiles nothing and takes known times."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu import forwards, steps
from benchmarks.gpu.__main__ import STAGES
from benchmarks.gpu.check import TINY, Scale
from imageserver.generation import Generation


class CompiledModel:
    """A check whose model compiles a graph for every new kind of forward; a step is a tenth slower in the engine."""

    scale: Scale = TINY

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.kinds: set[str] = set()
        merger = SimpleNamespace(merge=lambda calls: {"kind": " + ".join(call["kind"] for call in calls)})
        self.served = SimpleNamespace(merger=merger, forward=self.forward)

    def forward(self, kind: str) -> None:
        self.kinds.add(kind)

    def bare(self, side: int, count: int, guidance: float) -> float:
        return 1 + 0.1 * count * guidance

    def engine(self, wanted: list[Generation]) -> float:
        [one] = wanted
        return 2 + 0.11 * one.steps * one.true_cfg_scale

    def idle_share(self) -> float:
        return 0.25


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """What the stage says, by the names of the figures."""
    opened: list[CompiledModel] = []

    def open_check(scale: Scale, stage: str, *, tiny: bool, compiled: bool) -> CompiledModel:
        assert (scale, tiny, compiled) == (TINY, True, True)
        opened.append(CompiledModel(stage))
        return opened[0]

    def seconds_of(forward: Any, arguments: Any) -> float:
        forward(**arguments)
        return 0.002

    monkeypatch.setattr(steps, "Check", open_check)
    monkeypatch.setattr(forwards, "call_of", lambda check, side, prompt="": {"kind": f"{side} {prompt}"})
    monkeypatch.setattr(forwards, "seconds_of", seconds_of)
    monkeypatch.setattr(forwards, "compiled_graphs", lambda: len(opened[0].kinds))
    monkeypatch.setattr("sys.argv", ["steps", "--tiny", *STAGES["compile"].arguments])
    steps.main()
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["stage"] for each in said} == {"compile"}
    return {each["figure"]: each for each in said}


def test_the_compile_stage_counts_what_every_new_kind_of_forward_compiles(figures: dict[str, dict[str, Any]]) -> None:
    first = {name: each for name, each in figures.items() if name.startswith("first forward")}
    kinds = ("one", "one, longer text", "two", "four", "two, masked")
    assert set(first) == {f"first forward {side}, {kind}" for side in TINY.sides for kind in kinds}
    assert {(each["compiled"], each["then_ms"]) for each in first.values()} == {(1, 2.0)}


def test_the_compile_stage_compares_a_step_with_the_bare_one(figures: dict[str, dict[str, Any]]) -> None:
    seconds = {name: each["value"] for name, each in figures.items() if name.startswith("step ")}
    assert seconds == {
        "step 64, guidance 1": pytest.approx(0.11),
        "step 64, guidance 4": pytest.approx(0.44),
        "step 128, guidance 1": pytest.approx(0.11),
    }
    for name in seconds:
        each = figures[name]
        assert (each["over_bare_percent"], each["idle_between_forwards_percent"]) == (pytest.approx(10), 25)
    assert not any("failed" in name for name in figures)
