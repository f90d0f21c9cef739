"""Plot how jobs share the device: jobs as rows, forwards as columns.

python -m benchmarks.timeline TRACE.jsonl OUT.png     plot the trace of an engine
python -m benchmarks.timeline --run OUT.png           serve a few jobs with the demo model and plot their trace
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from benchmarks.timeline_jobs import run_jobs
from benchmarks.trace import Span, read_trace

DEMO_MODEL = Path(__file__).resolve().parents[1] / "imageserver" / "demo_model"
COLOURS = ("#d9480f", "#1971c2", "#2f9e44", "#9c36b5", "#e8a400", "#0c8599", "#c2255c", "#5c940d")
ALONE, SHARED = 0.55, 0.92


def plot_timeline(spans: Sequence[Span], file: Path, labels: Sequence[str] = ()) -> None:
    """Plot the forwards of a trace; jobs are labelled in the order of their numbers."""
    forwards = [span for span in spans if span.kind == "forward"]
    if not forwards:
        raise ValueError("The trace has no forwards.")
    jobs = sorted({job for span in forwards for job, _ in span.calls})
    names = dict(zip(jobs, labels, strict=False))
    figure, (axes, batches) = plt.subplots(
        2, 1, figsize=(11, 1.5 + 0.42 * len(jobs)), sharex=True, height_ratios=(len(jobs), 1.2)
    )
    for column, span in enumerate(forwards):
        rows = sorted({jobs.index(job) for job, _ in span.calls})
        if len(rows) > 1:
            axes.plot([column + 0.5] * 2, [rows[0], rows[-1]], color="#ced4da", linewidth=0.8, zorder=1)
        for row in rows:
            height = SHARED if len(rows) > 1 else ALONE
            colour = COLOURS[row % len(COLOURS)]
            axes.add_patch(
                Rectangle((column, row - height / 2), 1, height, facecolor=colour, edgecolor="white", linewidth=0.4)
            )
        batches.add_patch(
            Rectangle((column, 0), 1, len(span.calls), facecolor="#495057", edgecolor="white", linewidth=0.4)
        )
    axes.set_yticks(range(len(jobs)), [names.get(job, f"job {job}") for job in jobs], fontsize=8)
    axes.set_ylim(len(jobs) - 0.4, -0.6)
    axes.set_title(
        "Jobs (rows) and forwards of the denoiser (columns); tall cells in one column share that forward", fontsize=10
    )
    largest = max(len(span.calls) for span in forwards)
    batches.set_ylim(0, largest + 0.5)
    batches.set_yticks([0, largest])
    batches.set_ylabel("batch", fontsize=8)
    batches.set_xlabel("forwards, in their order", fontsize=8)
    batches.set_xlim(0, len(forwards))
    for part in (axes, batches):
        part.spines[["top", "right"]].set_visible(False)
        part.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description=__doc__)
    parser.add_argument("trace", type=Path, nargs="?", help="trace of an engine (JSON lines)")
    parser.add_argument("image", type=Path, help="PNG file to write")
    parser.add_argument("--run", action="store_true", help="make the trace from a real run")
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="folder of the model for --run")
    chosen = parser.parse_args()
    if chosen.run == (chosen.trace is not None):
        parser.error("give either a trace or --run")
    if chosen.run:
        with tempfile.TemporaryDirectory(prefix="timeline-") as folder:
            trace, labels = run_jobs(chosen.model.resolve(), Path(folder))
            plot_timeline(trace, chosen.image, labels)
    else:
        plot_timeline(read_trace(chosen.trace), chosen.image)
    print(f"Written: {chosen.image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
