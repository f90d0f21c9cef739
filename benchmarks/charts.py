"""The charts of a run, PNG files beside its JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.results import Results

OURS, OTHERS = "#d9480f", "#868e96"
Axes = Any


def write_charts(results: Results, folder: Path) -> list[Path]:
    """Plot the measurements of a run and return the files."""
    charts: dict[str, tuple[str, Callable[[Axes, Any], None]]] = {
        "throughput": ("Images per second, 16 clients", _throughput),
        "traffic": ("Latency of Poisson traffic, images of 4 and 8 steps", _traffic),
        "interruption": ("A small image during a large one, times its time alone", _interruption),
    }
    files = []
    for name, (title, plot) in charts.items():
        devices = [device for device, found in results.measurements.items() if name in found]
        if devices:
            files.append(_chart(results, folder / f"{name}.png", name, title, devices, plot))
    return files


def _chart(
    results: Results, file: Path, name: str, title: str, devices: list[str], plot: Callable[[Axes, Any], None]
) -> Path:
    figure: Figure
    figure, all_axes = plt.subplots(1, len(devices), figsize=(5.2 * len(devices), 3.4), squeeze=False)
    for axes, device in zip(all_axes[0], devices, strict=True):
        plot(axes, results.measurements[device][name])
        scale = results.conditions["time_scale"]
        suffix = f", forwards at {scale:g} of their length" if device == "simulated" and scale != 1 else ""
        axes.set_title(f"{device} device{suffix}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=11)
    where = f"{results.machine['processor']}, {results.machine['cores']} cores, {results.machine['date'][:10]}"
    figure.text(0.99, 0.005, where, ha="right", fontsize=6, color="#868e96")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(file, dpi=150)
    plt.close(figure)
    return file


def _throughput(axes: Axes, found: dict[str, Any]) -> None:
    names = list(found)
    rates = [found[name]["images_per_second"] for name in names]
    means = [sum(values) / len(values) for values in rates]
    bars = axes.barh(names, means, color=[OURS if name == "ours" else OTHERS for name in names])
    axes.bar_label(bars, [f"{mean:.2f}" for mean in means], padding=3, fontsize=8)
    for row, values in enumerate(rates):
        axes.plot(values, [row] * len(values), "k|", markersize=6)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(means))


def _traffic(axes: Axes, found: dict[str, Any]) -> None:
    loads = [where for where in found if where != "fifo_capacity"]
    width = 0.35
    names = list(found[loads[0]]["servers"])
    for index, name in enumerate(names):
        latency = [found[where]["servers"][name]["latency"] for where in loads]
        places = [row + (index - 0.5) * width for row in range(len(loads))]
        colour = OURS if name == "ours" else OTHERS
        bars = axes.bar(places, [one["mean"] for one in latency], width, color=colour, label=name)
        axes.bar_label(bars, [f"{one['mean']:.2f}" for one in latency], label_type="center", color="white", fontsize=8)
        axes.plot(places, [one["p95"] for one in latency], "k_", markersize=12)
    axes.set_xticks(range(len(loads)), [f"{where}\n({found[where]['load']:g} × FIFO's capacity)" for where in loads])
    axes.set_ylabel("seconds (bar: mean, line: p95)", fontsize=8)
    axes.legend(fontsize=8, frameon=False)


def _interruption(axes: Axes, found: dict[str, Any]) -> None:
    names = list(found)
    means = [sum(found[name]["during"]) / len(found[name]["during"]) / found[name]["solo"] for name in names]
    bars = axes.barh(names, means, color=[OURS if name == "ours" else OTHERS for name in names])
    axes.bar_label(bars, [f"{mean:.1f} ×" for mean in means], padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(means))
