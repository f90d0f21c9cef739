"""What is counted at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Requests that wait and run now, requests refused since the start, and busy seconds of each device's engine."""

    queued: int
    running: int
    refused: int
    busy: Mapping[str, float]
