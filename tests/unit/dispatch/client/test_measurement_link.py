"""What a worker measures reaches the dispatcher once, also when there was none for a while."""

from imageserver.dispatch.client.measurement_link import MeasurementLink
from imageserver.errors import EngineUnavailable
from imageserver.telemetry.instruments import REFUSALS
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.measured import counted


class ScriptedDispatcher:
    """Stands for the link to a dispatcher that may be away."""

    def __init__(self):
        self.sums, self.is_linked = MetricRegistry(), True

    def report(self, series):
        if self.is_linked:
            self.sums.add(series)
        return self.is_linked

    def measured(self):
        if not self.is_linked:
            raise EngineUnavailable("It is away.")
        return self.sums.series()


def test_what_was_measured_without_a_dispatcher_is_handed_over_later():
    client, measurements = ScriptedDispatcher(), MetricRegistry()
    link = MeasurementLink(client, measurements)
    client.is_linked = False
    measurements.count(REFUSALS, "loading")
    assert link.totals() == ()
    client.is_linked = True
    measurements.count(REFUSALS, "loading")
    assert counted(link.totals(), "refusals") == {("loading",): 2.0}
    link.flush()
    assert counted(link.totals(), "refusals") == {("loading",): 2.0}
