"""The last hour of the service, minute by minute."""

import msgspec

from imageserver.protocol.messages.message import NumberedMessage


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """Which share of a minute a device was busy, from 0 to 1."""

    name: str
    busy: float


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute of the service: the mean numbers of requests that waited and ran, and how many were refused.

    `ended_at` is in Unix seconds; the last minute may still be under way, and then `seconds` is less than 60.
    """

    ended_at: float
    seconds: float
    queued: float
    running: float
    refused: int
    devices: tuple[DeviceShare, ...]


class HistoryRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: what has happened in the last hour?"""


class History(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the answer, the oldest minute first."""

    minutes: tuple[Minute, ...]
