"""What all processes measured, in Prometheus' text format: a family for each instrument.

prometheus_client checks every sample: 2000 series of histograms took it 1.9 s, which other requests would wait for.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from imageserver.protocol.messages import Series
from imageserver.telemetry.instruments import INSTRUMENTS, Instrument

ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def measured_text(series: Iterable[Series], prefix: str) -> str:
    """Return every instrument under its name with the prefix, also those that nothing was observed of yet."""
    found: defaultdict[str, list[Series]] = defaultdict(list)
    for each in series:
        found[each.name].append(each)
    lines: list[str] = []
    for instrument in INSTRUMENTS.values():
        of_one = _histogram if instrument.bounds else _counter
        lines += of_one(instrument, found[instrument.name], prefix + instrument.name)
    return "".join(f"{line}\n" for line in lines)


def _counter(instrument: Instrument, series: list[Series], name: str) -> Iterator[str]:
    yield f"# HELP {name}_total {instrument.help}"
    yield f"# TYPE {name}_total counter"
    totals = {(value,): 0.0 for value in instrument.initial} | {each.labels: each.total for each in series}
    for labels, total in totals.items():
        yield f"{name}_total{{{_text_of(instrument, labels)}}} {float(total)!r}"


def _histogram(instrument: Instrument, series: list[Series], name: str) -> Iterator[str]:
    yield f"# HELP {name} {instrument.help}"
    yield f"# TYPE {name} histogram"
    bounds = [*map(repr, instrument.bounds), "+Inf"]
    for each in series:
        labels, count = _text_of(instrument, each.labels), 0
        for bound, count in zip(bounds, accumulate(each.counts), strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_count{{{labels}}} {count}"
        yield f"{name}_sum{{{labels}}} {float(each.total)!r}"


def _text_of(instrument: Instrument, values: tuple[str, ...]) -> str:
    pairs = zip(instrument.labels, values, strict=True)
    return ",".join(f'{label}="{value.translate(ESCAPES)}"' for label, value in pairs)
