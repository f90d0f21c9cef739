"""The interface between the tiers and a cache of diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imageserver.engine.caching.hooks import Hook
from imageserver.generation import Quality


@dataclass(frozen=True)
class TieredCall:
    """One call of an image that is not generated exactly.

    `steps` are the denoising steps of the whole image; `time` is the call's position on the schedule, from 1 (noise)
    to 0 (image).
    """

    quality: Quality
    steps: int
    time: float


class CacheBackend(Protocol):
    """One of diffusers' caches; the tiers attach and detach its hooks."""

    @property
    def hook_types(self) -> tuple[type, ...]:
        """The classes of the hooks that diffusers attaches for it."""

    def config(self) -> Any:
        """Return the configuration for `enable_cache` of diffusers."""

    def adopt(self, hooks: Sequence[Hook]) -> None:
        """Keep the hooks that have been attached."""

    def configure(self, call: TieredCall) -> None:
        """Set the hooks up for the next call; their context is that of its image and pass."""


def time_of(arguments: Mapping[str, Any]) -> float:
    """Return a denoiser call's position on the schedule."""
    return float(arguments["timestep"].flatten()[0])
