"""Skip blocks that would hardly change a picture: diffusers' FirstBlockCache, per request and for lone calls only.

A forward's first block tells how much the rest would change since the last step; below the tier's threshold the rest is
taken from that step. Every picture has its own state, so neighbours never meet in it. Source: ParaAttention's First
Block Cache, diffusers `hooks/first_block_cache.py` (0.42).
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks.first_block_cache import FBCHeadBlockHook, FirstBlockCacheConfig
from diffusers.hooks.hooks import HookRegistry

from imageserver.engine.suspension import SetContext
from imageserver.generation import Quality

# Relative change of the first block's residual below which the other blocks are skipped.
THRESHOLDS: dict[Quality, float] = {"exact": 0.0, "high": 0.08, "fast": 0.2}


class QualityTiers:
    """The cache hooks of one transformer: put on at the first use, taken off when nobody needs them."""

    def __init__(self, transformer: torch.nn.Module, set_context: SetContext, forward: Callable[..., Any]) -> None:
        """Take the transformer, what announces a pass to its cache hooks, and its forward."""
        self._transformer = transformer
        self._context = set_context
        self._forward = forward
        self._head: FBCHeadBlockHook | None = None
        self._threshold = 0.0
        self._users: set[int] = set()

    def forward(self, job: int, call: str, quality: Quality, arguments: Any) -> Any:
        """Compute one lone call of `job`; `call` names the pass of one picture, such as `0/cond`."""
        if self._head is None:
            self._put_on()
        self._users.add(job)
        self._threshold = THRESHOLDS[quality]
        with self._context(f"{job}/{call}"):
            return self._forward(**arguments)

    def plain_forward(self, **arguments: Any) -> Any:
        """Compute an exact call: with the hooks on, every block is computed and the result is the same to the bit."""
        if self._head is None:
            return self._forward(**arguments)
        self._threshold = THRESHOLDS["exact"]
        try:
            with self._context("exact"):
                return self._forward(**arguments)
        finally:
            self._drop_states("exact")

    def forget(self, job: int) -> None:
        """Drop the state of a job that ended."""
        if job not in self._users:
            return
        self._users.remove(job)
        self._drop_states(f"{job}/")
        if not self._users:
            del self._transformer._reset_stateful_cache
            self._transformer.disable_cache()  # type: ignore[operator]
            self._head = None

    def _put_on(self) -> None:
        self._transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))  # type: ignore[operator]
        first_block: torch.nn.Module = self._transformer.transformer_blocks[0]  # type: ignore[index, assignment]
        registry = HookRegistry.check_if_exists_or_initialize(first_block)
        self._head = next(hook for hook in registry.hooks.values() if isinstance(hook, FBCHeadBlockHook))
        decide = self._head._should_compute_remaining_blocks

        def decide_by_tier(residual: torch.Tensor) -> bool:
            assert self._head is not None
            if self._threshold == 0.0:
                return True
            self._head.threshold = self._threshold
            return bool(decide(residual))

        self._head._should_compute_remaining_blocks = decide_by_tier
        # Every pipeline resets the hooks' states at its end, those of all suspended neighbours too; `forget` does it.
        self._transformer._reset_stateful_cache = lambda recurse=True: None  # type: ignore[assignment]

    def _drop_states(self, prefix: str) -> None:
        assert self._head is not None
        states = self._head.state_manager._state_cache
        for name in [name for name in states if name.startswith(prefix)]:
            del states[name]
