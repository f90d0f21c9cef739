"""Write the last results into the documentation: `python -m benchmarks.report` fills docs/performance.md."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.results import FILE, FOLDER, Results, read_results
from benchmarks.table import markdown_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- results: python -m benchmarks.report -->", "<!-- end of results -->"
CHARTS = {
    "throughput.png": "Images per second by server",
    "traffic.png": "Latency under Poisson traffic",
    "interruption.png": "A small image during a large one",
}


def fill(page: str, block: str) -> str:
    """Return the page with `block` between its markers; raises ValueError when they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page has no lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def block_of(results: Results, charts_folder: str) -> str:
    """Return conditions, table and charts as Markdown; `charts_folder` is relative to the page."""
    machine, conditions = results.machine, results.conditions
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        (
            f"Measured {machine['date']} at commit `{machine['commit']}` in {conditions['seconds'] / 60:.0f} minutes: "
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, {machine['system']}, "
            f"Python {machine['python']}, {packages}; load average {machine['load_before']} before the run. "
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


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER / FILE, help="JSON file of a run")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to fill")
    chosen = parser.parse_args()
    try:
        results = read_results(chosen.results)
    except FileNotFoundError:
        print(f"{chosen.results} is missing; run python -m benchmarks first.", file=sys.stderr)
        return 1
    charts_folder = Path(os.path.relpath(chosen.results.parent, chosen.page.parent)).as_posix()
    chosen.page.write_text(fill(chosen.page.read_text(), block_of(results, charts_folder)))
    print(f"Written: {chosen.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
