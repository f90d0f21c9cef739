"""Measure all servers and write a table, JSON and charts: `python -m benchmarks`.

`--setup` once, before: it installs the servers to compare with into .venv-benchmarks.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks import environment, full_size
from benchmarks.bench import QUICK, Bench, MeasurementPlan
from benchmarks.conditions import DEVICES, Conditions, Device
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results
from benchmarks.scenarios import BY_DEVICE, SCENARIOS
from benchmarks.servers import KINDS
from benchmarks.servers.fleet import Fleet
from benchmarks.table import plain_table

# A load average above this gives a warning.
MAX_QUIET_LOAD = 0.5
DEMO_MODEL = environment.ROOT / "imageserver" / "demo_model"


def main() -> int:
    """Run the command line; return the exit status."""
    chosen = _arguments()
    if chosen.setup:
        environment.set_up(chosen.environment)
        return 0
    environment.enter(chosen.environment, "benchmarks")
    if not (chosen.model / "model_index.json").exists():
        print(f"{chosen.model} holds no model; name a diffusers folder with --model.", file=sys.stderr)
        return 1
    for kind in KINDS:
        if not kind.is_installed:
            print(f"Left out: {kind.label} ({kind.needs} is missing; python -m benchmarks --setup installs it).")
    results = measure(chosen)
    if not results.figures:
        print("Nothing was measured.", file=sys.stderr)
        return 1
    print("\n" + plain_table(results.figures))
    print(f"\nWritten: {results.write(chosen.output)}")
    from benchmarks.charts import write_charts

    for chart in write_charts(results, chosen.output):
        print(f"Written: {chart}")
    for problem in results.problems:
        print(f"Not measured: {problem}")
    return 0


def measure(chosen: argparse.Namespace) -> Results:
    """Run the scenarios of every device."""
    plan = dataclasses.replace(QUICK if chosen.quick else MeasurementPlan(), clients=chosen.clients)
    if chosen.rounds:
        plan = dataclasses.replace(plan, rounds=chosen.rounds)
    if chosen.seconds:
        plan = dataclasses.replace(plan, slice_seconds=chosen.seconds)
    machine, began = describe_machine(), time.monotonic()
    figures, measurements, problems = [], {}, []
    if (machine["load_before"] or 0) > MAX_QUIET_LOAD:
        print(f"Load average {machine['load_before']}: something else is running and will distort the figures.")
    for device in chosen.device:
        reason = full_size.reason_against(chosen.model) if device == "cuda" else None
        if reason:
            problems.append(f"The device cuda is left out: {reason}")
            print(problems[-1])
            continue
        bench = _measure_device(device, plan, chosen)
        figures += bench.figures
        problems += bench.problems
        measurements[device] = bench.measurements
    conditions = {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "model": chosen.model.name,
        "time_scale": chosen.time_scale,
        "seconds": round(time.monotonic() - began),
        **dataclasses.asdict(plan),
    }
    return Results(machine, conditions, figures, measurements, problems)


def _measure_device(device: Device, plan: MeasurementPlan, chosen: argparse.Namespace) -> Bench:
    folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    conditions = Conditions(device, chosen.model.resolve(), chosen.time_scale if device == "simulated" else 1.0)
    # A card holds the full-size model once.
    fleet = Fleet(conditions, folder, one_at_a_time=device == "cuda")
    bench = Bench(conditions, plan, fleet, folder, only=chosen.server or ())
    try:
        for name in BY_DEVICE[device]:
            if not chosen.scenario or name in chosen.scenario:
                print(f"{device}: {name}", flush=True)
                began = time.monotonic()
                _go_through(name, bench)
                print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        fleet.stop()
        if chosen.keep:
            print(f"Logs and traces: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return bench


def _go_through(name: str, bench: Bench) -> None:
    """Run one scenario; if it fails, record that and go on with the others."""
    try:
        SCENARIOS[name](bench)
    except Exception as error:
        traceback.print_exc()
        bench.problems.append(f"{bench.conditions.device}, {name}: {str(error).splitlines()[0]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--setup", action="store_true", help="install the servers to compare with, and exit")
    parser.add_argument("--device", nargs="+", choices=DEVICES, default=list(DEVICES), help="devices; all by default")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, help="scenarios; all of a device by default")
    parser.add_argument(
        "--server", nargs="+", choices=[kind.letter for kind in KINDS], help="servers of the throughput scenario"
    )
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="folder of the demo model")
    parser.add_argument("--clients", type=int, default=MeasurementPlan.clients, help="clients at a time")
    parser.add_argument("--rounds", type=int, help="how often the servers take turns")
    parser.add_argument("--seconds", type=float, help="seconds of load per server and round")
    parser.add_argument("--time-scale", type=float, default=0.25, help="time scale of a simulated forward, 1 is real")
    parser.add_argument("--quick", action="store_true", help="a minute or two per device; too short to be reliable")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--keep", action="store_true", help="keep the servers' logs and traces")
    parser.add_argument("--environment", type=Path, default=environment.FOLDER, help="where --setup installs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
