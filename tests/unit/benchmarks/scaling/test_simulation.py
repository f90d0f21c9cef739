"""The simulation of several engines agrees with real ones."""

import itertools
from types import SimpleNamespace

import pytest

from benchmarks.scaling.simulation import runs
from benchmarks.scaling.simulation.arrivals import Arrival, bursty_arrivals
from benchmarks.scaling.simulation.comparison import compare
from benchmarks.scaling.simulation.runs import read_runs
from benchmarks.scaling.simulation.simulate import simulate
from benchmarks.scaling.simulation.virtual_engine import HostSeconds, VirtualEngine
from imageserver.protocol.messages import Failed

RUNS = list(read_runs())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.engines} engines")
def test_latencies_are_within_15_percent_of_those_measured_on_real_servers(run):
    assert all(0.85 <= ratio <= 1.15 for ratio in compare(run).ratios)


def test_the_runs_are_of_one_two_and_four_engines():
    assert [run.engines for run in RUNS] == [1, 2, 4]


def test_one_image_takes_its_forwards_and_what_its_host_does():
    host = HostSeconds(begin=0.1, step=0.01, end=0.2, answer=0.5)
    [latency] = simulate([Arrival(1.0, 512, 4)], 1, host).latencies
    assert latency == pytest.approx(4 * 0.167 + 4 * 0.01 + 0.1 + 0.2 + 0.5)


def test_images_of_a_size_share_forwards_and_large_ones_do_not():
    host = HostSeconds(0, 0, 0, 0)
    eight = simulate([Arrival(0.0, 512, 4)] * 8, 1, host).latencies
    assert max(eight) == pytest.approx(4 * 0.425, rel=0.01)
    two = simulate([Arrival(0.0, 1024, 4)] * 2, 1, host).latencies
    assert max(two) == pytest.approx(8 * 0.240, rel=0.01)


def test_two_engines_finish_a_long_queue_in_half_the_time():
    queue = [Arrival(0.0, 512, 8)] * 160
    one, two = (max(simulate(queue, engines).latencies) for engines in (1, 2))
    assert one / two > 1.9


def test_jobs_that_fail_together_end_a_run_once_with_the_reason(monkeypatch, caplog):
    def fail_all(engine):
        for number in list(engine.running):
            engine.running.remove(number)
            engine._report(engine, Failed(job=number, code="generation_failed", sentence="It broke."))

    monkeypatch.setattr(VirtualEngine, "_step", fail_all)
    with pytest.raises(RuntimeError, match="It broke"):
        simulate([Arrival(0.0, 512, 4)] * 2, 1)
    assert caplog.text == ""


def test_a_measurement_does_not_wait_for_ever_for_engines_that_never_start(monkeypatch):
    content = {"devices": [{"status": "healthy"}, {"status": "failed"}]}
    monkeypatch.setattr(runs.requests, "get", lambda *_, **__: SimpleNamespace(json=lambda: content))
    monkeypatch.setattr(runs, "START_TIMEOUT", -1.0)
    with pytest.raises(RuntimeError, match="Of 2 engines, 1"):
        runs._wait_for_engines(1, 2)


def test_bursts_have_the_rate_that_was_asked_for_and_come_again_with_their_seed():
    arrivals = bursty_arrivals(2.0, 2000, seed=3)
    assert len(arrivals) / 2000 == pytest.approx(2.0, rel=0.1)
    assert arrivals == bursty_arrivals(2.0, 2000, seed=3)
    pauses = [later.moment - earlier.moment for earlier, later in itertools.pairwise(arrivals)]
    assert sum(pause < 0.06 for pause in pauses) > len(pauses) / 2
