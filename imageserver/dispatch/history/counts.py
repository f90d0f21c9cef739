"""What is counted at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Requests that wait and that engines have begun now, requests refused since the start, and busy seconds by device.

    A request that an engine holds but has not begun waits.
    """

    queued: int
    running: int
    refused: int
    busy: Mapping[str, float]
