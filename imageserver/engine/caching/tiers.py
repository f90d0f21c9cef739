"""One cache on one transformer, with a state of its own for every pass of every image."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from imageserver.engine.caching.backend import CacheBackend, TieredCall, time_of
from imageserver.engine.caching.hooks import Hook, hooks_on
from imageserver.engine.pipelines.suspension import SetContext
from imageserver.generation import Generation


class QualityTiers:
    """The hooks of a cache: attached at the first use, detached when no job needs them.

    Every other forward bypasses them, so exact images stay bit-identical beside tiered ones.
    """

    def __init__(
        self, transformer: torch.nn.Module, set_context: SetContext, forward: Callable[..., Any], backend: CacheBackend
    ) -> None:
        """Cache `transformer`, whose hooks `set_context` tells which pass runs; `forward` computes one call."""
        self._transformer: Any = transformer
        self._context = set_context
        self._forward = forward
        self._backend = backend
        self._hooks: list[Hook] = []
        self._in_use = False
        self._users: set[int] = set()

    def forward(self, job: int, call: str, generation: Generation, arguments: Mapping[str, Any]) -> Any:
        """Compute one call of `job`; `call` names the pass of one image, such as `0/cond`."""
        if not self._hooks:
            self._attach()
        self._users.add(job)
        with self._context(f"{job}/{call}"), self._caching():
            self._backend.configure(TieredCall(generation.quality, generation.generated_steps, time_of(arguments)))
            return self._forward(**arguments)

    def forget(self, job: int) -> None:
        """Drop the states of a job that ended."""
        if job not in self._users:
            return
        self._users.remove(job)
        for manager in {hook.state_manager for hook in self._hooks}:
            for name in [name for name in manager._state_cache if name.startswith(f"{job}/")]:
                del manager._state_cache[name]
        if not self._users:
            self._detach()

    def check_fit(self) -> None:
        """Attach and detach the hooks; raises diffusers' own error if the cache does not fit the model."""
        self._attach()
        self._detach()

    @contextlib.contextmanager
    def _caching(self) -> Iterator[None]:
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _attach(self) -> None:
        self._transformer.enable_cache(self._backend.config())
        self._hooks = hooks_on(self._transformer, self._backend.hook_types)
        for hook in self._hooks:
            self._make_optional(hook)
        self._backend.adopt(self._hooks)
        # Every pipeline resets the hooks' states at its end, those of all suspended neighbours too; `forget` does it.
        self._transformer._reset_stateful_cache = lambda recurse=True: None

    def _make_optional(self, hook: Hook) -> None:
        caching, stock = hook.fn_ref.forward, hook.fn_ref.original_forward

        def choose(*arguments: Any, **options: Any) -> Any:
            return (caching if self._in_use else stock)(*arguments, **options)

        hook.fn_ref.forward = choose

    def _detach(self) -> None:
        del self._transformer._reset_stateful_cache
        self._transformer.disable_cache()
        self._hooks = []
