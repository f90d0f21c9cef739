"""Scenarios on a device that holds one model only, with servers that only pretend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import memory as memory_of_processes
from benchmarks.bench import QUICK, Bench
from benchmarks.conditions import Conditions
from benchmarks.scenarios import memory, overhead
from benchmarks.servers.fleet import Fleet

MIB = 1024 * 1024


class PretendedFleet(Fleet):
    """Counts how many models are on the device at a time."""

    def __init__(self, *, one_at_a_time: bool) -> None:
        super().__init__(Conditions("cuda", Path()), Path(), one_at_a_time=one_at_a_time)
        self.on_device = self.most = 0

    @contextmanager
    def holding(self) -> Iterator[Any]:
        self.on_device += 1
        self.most = max(self.most, self.on_device)
        yield SimpleNamespace(port=1, generate=lambda request: 2.0, processes=list)
        self.on_device -= 1

    def serving(self, kind: Any) -> Any:
        return self.holding()


def bench(monkeypatch: pytest.MonkeyPatch, *, one_at_a_time: bool) -> tuple[Bench, PretendedFleet]:
    fleet = PretendedFleet(one_at_a_time=one_at_a_time)
    answer = SimpleNamespace(is_image=True, latency=2.1, status=200)
    client = SimpleNamespace(ask=lambda request: answer, close=lambda: None)
    monkeypatch.setattr(overhead, "BarePipeline", lambda *_: fleet.holding())
    monkeypatch.setattr(overhead, "LoadClient", lambda port: client)
    return Bench(Conditions("cuda", Path()), QUICK, fleet, Path()), fleet


@pytest.mark.parametrize(("one_at_a_time", "models"), [(True, 1), (False, 2)])
def test_the_overhead_needs_no_more_models_than_the_device_holds(
    monkeypatch: pytest.MonkeyPatch, one_at_a_time: bool, models: int
) -> None:
    measured, fleet = bench(monkeypatch, one_at_a_time=one_at_a_time)
    overhead.run(measured)
    assert (fleet.most, fleet.on_device) == (models, 0)
    unguided, guided = measured.figures
    assert unguided.value == pytest.approx(5.0)
    assert guided.value == pytest.approx(1.05)
    assert all(("one after the other" in figure.note) == one_at_a_time for figure in measured.figures)


def test_on_a_card_its_own_memory_is_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([10, 30, 20] + [60] * 1000)
    monkeypatch.setattr(memory_of_processes.PeakCardMemory, "read", lambda self: float(next(taken)))
    monkeypatch.setattr(memory_of_processes.PeakMemory, "read", lambda self: 100.0)
    monkeypatch.setattr(memory_of_processes, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(memory, "closed_loop", lambda *_: None)
    measured, _ = bench(monkeypatch, one_at_a_time=True)
    memory.run(measured)
    assert [figure.what for figure in measured.figures] == [
        "peak at 16 clients / at 1", "peak of the card at 16 clients / at 1",
    ]  # fmt: skip
    assert measured.figures[0].value == 1.0
    assert measured.figures[1].value > 1.0
