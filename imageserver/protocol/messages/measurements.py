"""What was measured, for the metrics: counts and histograms, added up over all workers in the dispatcher."""

import msgspec

from imageserver.protocol.messages.message import NumberedMessage


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One counter or histogram with these labels; `counts` are the observations in each bucket, not cumulated.

    The last bucket has no upper bound. A counter has no buckets, only its `total`.
    """

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    total: float


class MeasurementsRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: what has been measured by all processes?"""


class Measured(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: what it measured since its last message. Dispatcher to worker: all there is."""

    series: tuple[Series, ...]
