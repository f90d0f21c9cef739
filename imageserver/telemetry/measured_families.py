"""What all processes measured, as Prometheus shows it: a family for each instrument."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from imageserver.protocol.messages import Series
from imageserver.telemetry.instruments import INSTRUMENTS, Instrument


def families(series: Iterable[Series], prefix: str) -> Iterator[Metric]:
    """Yield every instrument under its name with the prefix, also those that nothing was observed of yet."""
    found: defaultdict[str, list[Series]] = defaultdict(list)
    for each in series:
        found[each.name].append(each)
    for instrument in INSTRUMENTS.values():
        kind = _histogram if instrument.bounds else _counter
        yield kind(instrument, found[instrument.name], prefix)


def _counter(instrument: Instrument, series: list[Series], prefix: str) -> Metric:
    family = CounterMetricFamily(prefix + instrument.name, instrument.help, labels=instrument.labels)
    totals = {(value,): 0.0 for value in instrument.initial} | {each.labels: each.total for each in series}
    for labels, total in totals.items():
        family.add_metric(labels, total)
    return family


def _histogram(instrument: Instrument, series: list[Series], prefix: str) -> Metric:
    family = HistogramMetricFamily(prefix + instrument.name, instrument.help, labels=instrument.labels)
    bounds = [*map(floatToGoString, instrument.bounds), "+Inf"]
    for each in series:
        family.add_metric(each.labels, list(zip(bounds, accumulate(each.counts), strict=True)), each.total)
    return family
