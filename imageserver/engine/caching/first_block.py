"""FirstBlockCache: where the first block changes little since the last step, the others are reused from that step.

Source: ParaAttention's First Block Cache, diffusers `hooks/first_block_cache.py` (0.42).
"""

from collections.abc import Sequence

from diffusers.hooks.first_block_cache import FBCBlockHook, FBCHeadBlockHook, FirstBlockCacheConfig

from imageserver.engine.caching.backend import TieredCall
from imageserver.engine.caching.hooks import Hook
from imageserver.generation import Quality

# Relative change of the first block's residual below which the other blocks are skipped.
THRESHOLDS: dict[Quality, float] = {"high": 0.08, "fast": 0.2}


class FirstBlock:
    """The only cache here that depends on the image: it decides at every step."""

    hook_types: tuple[type, ...] = (FBCHeadBlockHook, FBCBlockHook)

    def config(self) -> FirstBlockCacheConfig:
        """Return the defaults: every call sets its own threshold."""
        return FirstBlockCacheConfig()

    def adopt(self, hooks: Sequence[Hook]) -> None:
        """Keep the hook of the first block, which decides."""
        self._head = next(hook for hook in hooks if isinstance(hook, FBCHeadBlockHook))

    def configure(self, call: TieredCall) -> None:
        self._head.threshold = THRESHOLDS[call.quality]
