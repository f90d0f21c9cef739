"""What it costs a request that the server measures and tells: histograms, Server-Timing, XMP and seal, JSON logs.

The same with traces that a collector receives, and with C2PA manifests too, which are off by default.

The server as it is, those that tell more and one without all that take turns, request by request, with the tests'
engine that computes nothing and whose images are noise: no file is larger, so no seal costs more. The one without is
there twice: its difference from itself is what cannot be told apart. The differences are held against the same image
of the demo model, asked for in some of the same rounds: in one step, which is the shortest request that there is, and
once in twenty, as people ask.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient
from benchmarks.figures import at_most
from benchmarks.paired.bootstrap import bootstrap_interval
from benchmarks.paired.rounds import Participant, in_rounds
from benchmarks.servers import OURS
from benchmarks.servers.collector import collector
from benchmarks.servers.fleet import Fleet
from benchmarks.servers.kind import Kind
from benchmarks.servers.process import ROOT
from benchmarks.traffic import ImageRequest

NAME = "telemetry"
# For each of the plan's pairs.
ROUNDS = 50

TOLD = dataclasses.replace(
    OURS, name="told",
    environment=OURS.environment | {
        "ENGINE_MODULE": "tests.support.fake_engine", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "PROVENANCE": "1",
    },
)  # fmt: skip
SILENCED = dataclasses.replace(
    TOLD, name="silenced", arguments=(*OURS.arguments[:-1], "benchmarks.silenced.entry:app"),
    environment=TOLD.environment | {
        "LOG_LEVEL": "ERROR", "LOG_FORMAT": "text", "PROVENANCE": "0",
        "PYTHONPATH": f"{ROOT / 'benchmarks' / 'silenced'}:{ROOT}",
    },
)  # fmt: skip
AGAIN = dataclasses.replace(SILENCED, name="silenced again")


@dataclasses.dataclass(frozen=True)
class Case:
    """An image that is asked for: in a `share` of the rounds, and of the demo model in every `demo`th of them."""

    side: int
    steps: int
    share: float
    demo: int

    def __str__(self) -> str:
        return f"{self.side}×{self.side}, {self.steps} step{'s' if self.steps > 1 else ''}"


# The smallest image, a usual one, and one whose file is large.
CASES = (Case(64, 1, share=1.0, demo=10), Case(512, 20, share=0.5, demo=20), Case(1024, 1, share=0.25, demo=5))


def run(bench: Bench) -> None:
    """Measure every case."""
    fleet = Fleet(bench.conditions, bench.folder / NAME)
    with ExitStack() as stack:
        stack.callback(fleet.stop)
        traces = stack.enter_context(collector())
        kinds = _kinds(traces.url, bench.folder)
        for case in CASES:
            _measure(bench, fleet, kinds, case)
        if not traces.count():
            raise RuntimeError("The collector received no trace.")


def _kinds(endpoint: str, folder: Path) -> dict[str, Kind]:
    """Return the servers to compare with the silenced one, by what a line of the results calls the difference."""
    traced = _telling(TOLD, "traced", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    kinds = {"nothing, measured again": AGAIN, "measuring and telling": TOLD, "and traces": traced}
    if find_spec("c2pa") is not None:
        from tests.support.signing import Authority

        (folder / "signer").mkdir(parents=True)
        kinds["and traces and C2PA"] = _telling(traced, "signed", **Authority().issue(folder / "signer").variables)
    return kinds


def _telling(kind: Kind, name: str, **settings: str) -> Kind:
    return dataclasses.replace(kind, name=name, environment=kind.environment | settings)


def _measure(bench: Bench, fleet: Fleet, kinds: dict[str, Kind], case: Case) -> None:
    rounds = round(ROUNDS * bench.plan.pairs * case.share)
    seconds = _seconds(fleet, [SILENCED, OURS, *kinds.values()], case, rounds)
    silenced, whole = seconds[SILENCED.name], seconds[OURS.name]
    for title, kind in kinds.items():
        differences = [told - base for told, base in zip(seconds[kind.name], silenced, strict=True)]
        low, high = bootstrap_interval(percentage, differences, whole)
        note = (
            f"95 % {low:+.2f} to {high:+.2f} %, {1000 * statistics.median(differences):+.2f} ms, {rounds} rounds; demo "
            f"model's same image {1000 * statistics.median(whole):.0f} ms"
        )
        bar = None if kind is AGAIN else at_most(1.0)
        bench.record(NAME, f"{title}, {case}", percentage(differences, whole), "%", bar, note)
    bench.measurements[f"{NAME} {case}"] = seconds


def percentage(differences: Sequence[float], whole: Sequence[float]) -> float:
    """Return what the median difference is of the median whole."""
    return 100 * statistics.median(differences) / statistics.median(whole)


def _seconds(fleet: Fleet, kinds: Sequence[Kind], case: Case, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of the requests to every server."""
    fleet.start(kinds)
    with ExitStack() as stack:
        participants = []
        for kind in kinds:
            server = stack.enter_context(fleet.serving(kind))
            client = stack.enter_context(closing(LoadClient(server.port)))
            every = case.demo if kind is OURS else 1
            participants.append(Participant(kind.name, lambda number, client=client: _ask(client, case, number), every))
        return in_rounds(participants, rounds)


def _ask(client: LoadClient, case: Case, number: int) -> float:
    text = f"[noise] [step=0.0] {case} {number}"
    answer = client.ask(ImageRequest(text, seed=1, steps=case.steps, side=case.side))
    if not answer.is_image:
        raise RuntimeError(f"The server answered {answer.status} instead of an image.")
    return answer.latency
