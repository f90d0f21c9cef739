"""What the tiers must know of a cache, and what a cache is told of each call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imageserver.engine.caching.hooks import Hook
from imageserver.generation import Quality


@dataclass(frozen=True)
class TieredCall:
    """One call of an image that is not generated exactly.

    `steps` are the denoising steps of the whole image; `time` is the call's place on the schedule, from 1 (noise)
    to 0 (image).
    """

    quality: Quality
    steps: int
    time: float


class CacheBackend(Protocol):
    """One of diffusers' caches; its hooks are put on and taken off by the tiers."""

    @property
    def hook_types(self) -> tuple[type, ...]:
        """The classes of the hooks that diffusers puts on for it."""

    def config(self) -> Any:
        """Return what `enable_cache` of diffusers takes."""

    def adopt(self, hooks: Sequence[Hook]) -> None:
        """Take the hooks that have been put on."""

    def configure(self, call: TieredCall) -> None:
        """Set the hooks for the call that comes next; their context is the one of its image and pass."""


def time_of(arguments: Mapping[str, Any]) -> float:
    """Return a denoiser call's place on the schedule."""
    return float(arguments["timestep"].flatten()[0])
