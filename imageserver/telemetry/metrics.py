"""Metrics for Prometheus: the dispatcher's last snapshot and what all processes measured.

Every worker reports the same.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from imageserver.protocol.messages import DeviceUsage, Series, Snapshot
from imageserver.telemetry.measured_text import measured_text

PREFIX = "qwen_image_server_"
TASK_STATES = ("queued", "processing", "completed", "failed", "cancelled", "expired")


class _SnapshotCollector:
    def __init__(self, snapshot: Snapshot | None, tasks: Mapping[str, int]) -> None:
        self._snapshot = snapshot
        self._tasks = tasks

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        yield _gauge("up", "1 while the dispatcher responds.", snapshot is not None)
        if snapshot is None:
            return
        usage = snapshot.usage
        yield _gauge("ready", "1 while generations are accepted without a first load.", snapshot.info is not None)
        yield _gauge("model_loaded", "1 while the default model is in memory.", snapshot.model_loaded)
        yield _gauge("queue_length", "Generations waiting in the queue.", snapshot.queue_length)
        yield _gauge("active_generations", "Generations running in the engine.", snapshot.active)
        yield _gauge("queue_wait_seconds", "Expected seconds of all that runs and waits.", snapshot.queue_wait)
        yield _counter("requests", "Generations requested.", snapshot.total)
        ended = CounterMetricFamily(PREFIX + "requests_ended", "Generations ended, by outcome.", labels=["outcome"])
        for outcome in ("completed", "failed", "cancelled"):
            ended.add_metric([outcome], getattr(snapshot, outcome))
        yield ended
        yield _counter("engine_restarts", "Times that the engine process was replaced.", snapshot.engine_restarts)
        help_text = "Times that the engine process ended for want of requests (IDLE_UNLOAD)."
        yield _counter("idle_unloads", help_text, snapshot.idle_unloads)
        yield _counter("device_busy_seconds", "Seconds that the device was busy.", usage.busy)
        yield _counter("device_idle_seconds", "Seconds that the device was idle while work waited.", usage.idle)
        yield _counter("forwards", "Denoiser forwards computed.", usage.forwards)
        yield _counter("denoiser_calls", "Denoiser calls served by those forwards.", usage.calls)
        yield _counter("lookahead_hits", "Denoiser calls foreseen and used.", usage.lookahead_hits)
        yield _counter("lookahead_misses", "Denoiser calls foreseen wrongly, or in vain.", usage.lookahead_misses)
        help_text = "Compilations of COMPILE=1 while requests waited, and code that it gave up."
        yield _counter("recompilations", help_text, usage.recompilations)
        if snapshot.estimate_error is not None:
            help_text = "Median of |expected - measured| / measured over the last 50 generations."
            yield _gauge("estimate_error_ratio", help_text, snapshot.estimate_error)
        yield _gauge("seats_free", "Devices that have nothing to do.", snapshot.seats_free)
        help_text = "Expected seconds until a new generation would begin."
        yield _gauge("expected_wait_seconds", help_text, snapshot.expected_wait)
        yield from self._by_device(snapshot)
        tasks = GaugeMetricFamily(PREFIX + "tasks", "Tasks that are kept, by state.", labels=["state"])
        for state in TASK_STATES:
            tasks.add_metric([state], self._tasks.get(state, 0))
        yield tasks

    def _by_device(self, snapshot: Snapshot) -> Iterator[Metric]:
        seats = snapshot.seats
        ready = GaugeMetricFamily(PREFIX + "seat_ready", "1 while a device accepts generations.", labels=["device"])
        active = GaugeMetricFamily(PREFIX + "seat_active_generations", "Generations on a device.", labels=["device"])
        restarts = CounterMetricFamily(PREFIX + "seat_engine_restarts", "Engines replaced.", labels=["device"])
        busy = CounterMetricFamily(PREFIX + "seat_busy_seconds", "Seconds that a device was busy.", labels=["device"])
        help_text = "Bytes of the tensors on a device; on a CPU those of the engine process."
        allocated = GaugeMetricFamily(PREFIX + "memory_allocated_bytes", help_text, labels=["device"])
        help_text = "Bytes that an engine keeps of a device's memory."
        reserved = GaugeMetricFamily(PREFIX + "memory_reserved_bytes", help_text, labels=["device"])
        for seat in seats:
            held = seat.usage if seat.engine_pid else DeviceUsage()
            allocated.add_metric([seat.name], held.allocated)
            reserved.add_metric([seat.name], held.reserved)
            ready.add_metric([seat.name], float(seat.state == "healthy"))
            active.add_metric([seat.name], seat.active)
            restarts.add_metric([seat.name], seat.engine_restarts)
            busy.add_metric([seat.name], seat.usage.busy)
        yield from (ready, active, restarts, busy, allocated, reserved)


def exposition(
    snapshot: Snapshot | None, series: Iterable[Series] = (), tasks: Mapping[str, int] | None = None
) -> bytes:
    """Return all metrics in Prometheus' text format; without a snapshot there are none but `up`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot, tasks or {}))
    own = measured_text(series, PREFIX).encode() if snapshot is not None else b""
    return generate_latest(registry) + own


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help_text, value=float(value))


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, help_text, value=float(value))
