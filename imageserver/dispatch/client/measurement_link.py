"""A worker's way to the sums of all workers: it hands over what it measured, and asks for what all have."""

from imageserver.dispatch.client.client import DispatchClient
from imageserver.errors import ServiceError
from imageserver.protocol.messages import Series
from imageserver.telemetry.metric_registry import MetricRegistry


class MeasurementLink:
    """Keeps what this worker measures until the dispatcher has it."""

    def __init__(self, client: DispatchClient, measurements: MetricRegistry) -> None:
        self._client = client
        self._measurements = measurements

    def flush(self) -> None:
        """Hand over what was measured since the last time; without a dispatcher it is kept."""
        series = self._measurements.drain()
        if series and not self._client.report(series):
            self._measurements.add(series)

    def totals(self) -> tuple[Series, ...]:
        """Return the sums of all processes; nothing without a dispatcher."""
        self.flush()
        try:
            return self._client.measured()
        except ServiceError:
            return ()
