"""The metrics for Prometheus are the dispatcher's own figures."""

import re

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from imageserver.protocol.messages import DeviceUsage, SeatStatus, Snapshot
from imageserver.telemetry.instruments import INSTRUMENTS, REQUEST_SECONDS, WEBHOOKS
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.telemetry.metrics import PREFIX, exposition
from tests.support.paths import ROOT

SNAPSHOT = Snapshot(
    state="healthy", reason="", phase="ready", load_fraction=1.0, info=None, queue_length=3, active=2, total=11,
    completed=6, failed=1, cancelled=4, engine_restarts=1, queue_wait=7.5, dispatcher_pid=1, engine_pid=2,
    estimate_error=0.12,
    usage=DeviceUsage(
        busy=90.0, idle=1.0, forwards=100, calls=250, lookahead_hits=80, lookahead_misses=2, recompilations=3
    ),
)  # fmt: skip


def figures(snapshot: Snapshot | None) -> dict[str, float]:
    families = text_string_to_metric_families(exposition(snapshot).decode())
    return {
        sample.name.removeprefix(PREFIX) + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_figure_of_the_snapshot_is_reported() -> None:
    reported = figures(SNAPSHOT)
    assert reported["queue_length"] == 3
    assert reported["requests_total"] == 11
    assert reported["requests_ended_totalcancelled"] == 4
    assert reported["estimate_error_ratio"] == 0.12
    assert reported["device_idle_seconds_total"] / reported["device_busy_seconds_total"] == 1 / 90
    assert reported["denoiser_calls_total"] / reported["forwards_total"] == 2.5
    assert (reported["lookahead_hits_total"], reported["lookahead_misses_total"]) == (80, 2)
    assert reported["recompilations_total"] == 3


def test_each_device_has_figures_of_its_own() -> None:
    seats = tuple(
        SeatStatus(
            name=f"cuda:{number}", state=state, reason="", phase="ready", load_fraction=1.0, device=None, loaded=(),
            active=active, remaining=0.0, engine_restarts=number, engine_pid=1 if active else None,
            usage=DeviceUsage(busy=2.0 * number, allocated=7, reserved=9),
        )
        for number, (state, active) in enumerate([("healthy", 2), ("healthy", 0), ("degraded", 0)])
    )  # fmt: skip
    reported = figures(structs.replace(SNAPSHOT, seats=seats))
    assert [reported[f"seat_readycuda:{number}"] for number in range(3)] == [1, 1, 0]
    assert [reported[f"seat_active_generationscuda:{number}"] for number in range(3)] == [2, 0, 0]
    assert (reported["seat_engine_restarts_totalcuda:1"], reported["seat_busy_seconds_totalcuda:1"]) == (1, 2.0)
    assert (reported["memory_allocated_bytescuda:0"], reported["memory_reserved_bytescuda:0"]) == (7, 9)
    assert reported["memory_reserved_bytescuda:1"] == 0  # its engine has ended
    assert (reported["seats_free"], reported["expected_wait_seconds"]) == (1, 0.0)
    assert figures(structs.replace(SNAPSHOT, seats=seats[:1]))["expected_wait_seconds"] == 7.5


def test_a_device_on_another_machine_has_its_address_as_a_label_that_can_be_read_back() -> None:
    far = SeatStatus(
        name="10.0.0.7 cuda:1", state="healthy", reason="", phase="ready", load_fraction=1.0, device=None, loaded=(),
        active=1, remaining=0.0, engine_restarts=0, engine_pid=1, usage=DeviceUsage(busy=5.0, reserved=9),
    )  # fmt: skip
    reported = figures(structs.replace(SNAPSHOT, seats=(far,)))
    assert reported["seat_active_generations10.0.0.7 cuda:1"] == 1
    assert reported["seat_busy_seconds_total10.0.0.7 cuda:1"] == 5.0
    assert reported["memory_reserved_bytes10.0.0.7 cuda:1"] == 9


def test_without_a_dispatcher_only_its_absence_is_reported() -> None:
    assert figures(None) == {"up": 0.0}


def test_histograms_cumulate_and_counters_end_in_total():
    measurements = MetricRegistry()
    for seconds in (0.3, 0.4, 3000.0):
        measurements.observe(REQUEST_SECONDS, seconds, "demo", "text", "512", "completed")
    measurements.count(WEBHOOKS, "retried", amount=3)
    text = exposition(SNAPSHOT, measurements.series(), {"queued": 2}).decode()
    labels = 'model="demo",kind="text",size="512",outcome="completed"'
    lines = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    buckets = {name: value for name, value in lines.items() if "request_seconds_bucket" in name}
    assert sorted(buckets.values()) == [0, 0, 0, 0, *[2] * 11, 3]
    assert [value for name, value in buckets.items() if 'le="+Inf"' in name] == [3]
    assert all('model="demo"' in name for name in buckets)
    assert lines[f"{PREFIX}request_seconds_sum{{{labels}}}"] == 3000.7
    assert lines[f'{PREFIX}webhooks_total{{result="retried"}}'] == 3
    assert lines[f'{PREFIX}tasks{{state="queued"}}'] == 2


def test_every_instrument_is_named_from_the_beginning():
    text = exposition(SNAPSHOT).decode()
    assert [name for name in INSTRUMENTS if f"# HELP {PREFIX}{name}" not in text] == []


def test_every_metric_is_in_the_documentation_and_no_other():
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \| (?:gauge|counter|histogram) ", page, re.MULTILINE))
    families = text_string_to_metric_families(exposition(SNAPSHOT).decode())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert documented == {name.removeprefix(PREFIX) for name in names}


def test_a_label_with_quotes_and_line_breaks_is_read_back_as_it_was():
    measurements, name = MetricRegistry(), 'a "model"\\of\nmine'
    measurements.observe(REQUEST_SECONDS, 0.3, name, "text", "512", "completed")
    families = text_string_to_metric_families(exposition(SNAPSHOT, measurements.series()).decode())
    samples = [sample for family in families for sample in family.samples if "request_seconds" in sample.name]
    assert {sample.labels["model"] for sample in samples} == {name}
