"""The scenarios, each in a file with a `run(bench)`, in the order in which a device runs them."""

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.conditions import Device
from benchmarks.scenarios import cancelling, idle, interruption, memory, overhead, telemetry, throughput, traffic

Scenario = Callable[[Bench], None]

# Memory first: a peak means most on a server that has done nothing yet.
SCENARIOS: dict[str, Scenario] = {
    "memory": memory.run,
    "throughput": throughput.run,
    "traffic": traffic.run,
    "interruption": interruption.run,
    "cancelling": cancelling.run,
    "overhead": overhead.run,
    "idle": idle.run,
    "telemetry": telemetry.run,
}

# Only a device that we slow down can be brought to a load that is known beforehand; on the demo model's, forwards and
# the front share the cores, so that idle time says nothing.
BY_DEVICE: dict[Device, tuple[str, ...]] = {
    "simulated": ("memory", "throughput", "traffic", "interruption", "cancelling", "overhead", "idle"),
    "demo": ("memory", "throughput", "interruption", "cancelling", "overhead", "telemetry"),
    "cuda": ("memory", "throughput", "interruption", "cancelling", "overhead", "idle"),
}
