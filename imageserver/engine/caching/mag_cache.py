"""MagCache: skip a step while the magnitude of the blocks' residual is known to have changed little.

How it changes along the schedule is a property of the model, measured once (`calibration.py`).
Source: https://github.com/Zehong-Ma/MagCache, diffusers `hooks/mag_cache.py` (0.42).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from diffusers.hooks.mag_cache import MagCacheBlockHook, MagCacheConfig, MagCacheHeadHook, MagCacheState

from imageserver.engine.caching.backend import TieredCall
from imageserver.engine.caching.calibration import Calibration
from imageserver.engine.caching.hooks import Hook
from imageserver.generation import Quality


@dataclass(frozen=True)
class Budget:
    """Steps are skipped up to `max_skips` in a row while their summed error stays below `threshold`."""

    threshold: float
    max_skips: int
    whole_share: float


BUDGETS: dict[Quality, Budget] = {"high": Budget(0.02, 1, 0.3), "fast": Budget(0.04, 2, 0.2)}


class MagCache:
    """Interpolates the ratios for any number of steps and any part of the schedule from the model's calibration."""

    hook_types: tuple[type, ...] = (MagCacheHeadHook, MagCacheBlockHook)

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        # Where each image's pass was at its last step; states go when their images do.
        self._last: WeakKeyDictionary[MagCacheState, float] = WeakKeyDictionary()

    def config(self) -> MagCacheConfig:
        """Return a configuration that all hooks share and every call rewrites."""
        self._config = MagCacheConfig(mag_ratios=[1.0], num_inference_steps=1)
        return self._config

    def adopt(self, hooks: Sequence[Hook]) -> None:
        """Keep the states, which all hooks share."""
        self._states = hooks[0].state_manager

    def configure(self, call: TieredCall) -> None:
        """Set the budget of the call's tier, and the ratio between its image's last step and this one."""
        budget, state = BUDGETS[call.quality], self._states.get_state()
        ratio = self._calibration.ratio(self._last.get(state, call.time), call.time)
        self._last[state] = call.time
        self._config.threshold, self._config.max_skip_steps = budget.threshold, budget.max_skips
        self._config.retention_ratio, self._config.num_inference_steps = budget.whole_share, call.steps
        # The hook reads only the entry of this step.
        self._config.mag_ratios = [ratio] * (state.step_index + 1)
