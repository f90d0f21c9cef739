"""What clients use of the server, and the limits of it."""

from typing import Literal

import msgspec

from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.protocol.messages.generations import Failed
from imageserver.protocol.messages.message import NumberedMessage


class QuotaUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one quota is used; a `limit` of 0 means none, `window` and `reset` are in seconds.

    The window of a minute moves: `reset` is when its oldest request leaves it. Hours and days are those of the clock.
    """

    name: Literal["minute", "hour", "day"]
    unit: Literal["requests", "device-seconds"]
    limit: float
    window: int
    used: float
    reset: float


class UsageRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: count so many requests for an account, and say what it has used."""

    account: str
    limits: ClientLimits = NO_LIMITS
    requests: int = 0


class Usage(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer; with a `refusal` the requests were not counted."""

    quotas: tuple[QuotaUse, ...]
    refusal: Failed | None = None
