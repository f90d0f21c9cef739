"""Write results into docs/performance.md.

python -m benchmarks.report                 the last run of `python -m benchmarks`
python -m benchmarks.report --gpu FILE      the figures.jsonl of a run of `python -m benchmarks.gpu`
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.results import FILE, FOLDER, Results, read_results
from benchmarks.table import markdown_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
MARKERS = "<!-- results: python -m benchmarks.report -->", "<!-- end of results -->"
GPU_MARKERS = "<!-- gpu: python -m benchmarks.report --gpu FILE -->", "<!-- end of gpu -->"
# Fields of a GPU figure that the table shows elsewhere or not at all.
NOT_SHOWN = {"stage", "figure", "value", "unit", "at"}
CHARTS = {
    "throughput.png": "Images per second by server",
    "traffic.png": "Latency under Poisson traffic",
    "interruption.png": "A small image during a large one",
}


def fill(page: str, block: str, markers: tuple[str, str] = MARKERS) -> str:
    """Return the page with `block` between its markers; raises ValueError when they are missing."""
    before, begin, rest = page.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"The page has no lines {markers[0]} and {markers[1]}.")
    return f"{before}{begin}\n{block}\n{end}{after}"


def gpu_table(lines: Iterable[str]) -> str:
    """Return the figures of a GPU check as a Markdown table, in their order."""
    rows = ["| stage | figure | value | more |", "| --- | --- | --- | --- |"]
    for figure in map(json.loads, lines):
        more = ", ".join(f"{name} {_plain(value)}" for name, value in figure.items() if name not in NOT_SHOWN)
        value = f"{_plain(figure['value'])} {figure['unit']}".strip()
        rows.append("| " + " | ".join(_cell(text) for text in (figure["stage"], figure["figure"], value, more)) + " |")
    return "\n".join(rows)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def block_of(results: Results, charts_folder: str) -> str:
    """Return conditions, table and charts as Markdown; `charts_folder` is relative to the page."""
    machine, conditions = results.machine, results.conditions
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        (
            f"Measured {machine['date']} at commit `{machine['commit']}` in {conditions['seconds'] / 60:.0f} minutes: "
            f"{machine['processor']}, {machine['cores']} cores, {_cards(machine)}{machine['memory_gib']:g} GiB, "
            f"{machine['system']}, Python {machine['python']}, {packages}; "
            f"load average {machine['load_before']} before the run. "
            f"`{conditions['command']}`: {conditions['rounds']} rounds of {conditions['slice_seconds']:g} s per "
            f"server, {conditions['clients']} clients, "
            f"simulated forwards at {conditions['time_scale']:g} of their length."
        ),
        "",
        markdown_table(results.figures),
    ]
    if results.problems:
        lines += ["", "Not measured:", "", *(f"- {problem}" for problem in results.problems)]
    for name, title in CHARTS.items():
        if any(name.removesuffix(".png") in found for found in results.measurements.values()):
            lines += ["", f"![{title}]({charts_folder}/{name})"]
    return "\n".join(lines)


def _cards(machine: dict[str, Any]) -> str:
    """Return the cards of a machine; results of earlier versions name none."""
    return f"{machine['gpu']}, " if machine.get("gpu") else ""


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER / FILE, help="JSON file of a run")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to fill")
    parser.add_argument("--gpu", type=Path, metavar="FILE", help="figures.jsonl of a run of python -m benchmarks.gpu")
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    if chosen.gpu is not None:
        chosen.page.write_text(fill(page, gpu_table(chosen.gpu.read_text().splitlines()), GPU_MARKERS))
        print(f"Written: {chosen.page}")
        return 0
    try:
        results = read_results(chosen.results)
    except FileNotFoundError:
        print(f"{chosen.results} is missing; run python -m benchmarks first.", file=sys.stderr)
        return 1
    charts_folder = Path(os.path.relpath(chosen.results.parent, chosen.page.parent)).as_posix()
    chosen.page.write_text(fill(page, block_of(results, charts_folder)))
    print(f"Written: {chosen.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
