"""Let several ranks compute one forward, each a part of its tokens: diffusers' Ulysses attention for any length.

Source: diffusers `models/_modeling_parallel.py` and `enable_parallelism` of `models/modeling_utils.py` (0.42). That
method needs an accelerator and cannot be undone; here every forward is computed either way. diffusers is imported where
it is needed: its hooks bring peft and dynamo, which take longer than the rest of a rank's start.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from imageserver.engine.card_group.process_group import ProcessGroup


def has_plan(denoiser: Any) -> bool:
    """Return whether diffusers knows how to split a denoiser's tokens, with the attention that it uses."""
    if getattr(denoiser, "_cp_plan", None) is None or not _processors(denoiser):
        return False
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    name = _processors(denoiser)[0]._attention_backend
    backend = AttentionBackendName(name) if name else _AttentionBackendRegistry.get_active_backend()[0]
    return bool(_AttentionBackendRegistry._is_context_parallel_available(backend))


def heads_of(denoiser: Any) -> set[int]:
    """Return the numbers of heads of the attentions whose tokens would be split."""
    found = [module.heads for module in denoiser.modules() if _processor(module) and hasattr(module, "heads")]
    return set(found)


def can_divide(heads: int, degree: int) -> bool:
    """Return whether so many ranks can take the heads of an attention; diffusers pads those of the last rank alone.

    Source: `_maybe_pad_qkv_head` of diffusers `models/attention_dispatch.py` (0.42).
    """
    padding = -heads % degree
    return padding == 0 or padding < (heads + padding) // degree


@contextlib.contextmanager
def sharing_tokens(denoiser: Any, ranks: ProcessGroup, degree: int) -> Iterator[None]:
    """Share the tokens of the forwards inside with `degree` ranks; all of them compute the same calls."""
    if degree == 1:
        yield
        return
    from diffusers import ContextParallelConfig, ParallelConfig
    from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel

    config: Any = ParallelConfig(ContextParallelConfig(ulysses_degree=degree, ulysses_anything=True))
    config.setup(ranks.rank, ranks.size, ranks.device, mesh=ranks.meshes[degree])
    # A gate stays outside: hooks must see the call that is computed, not the one that is suspended.
    gate = vars(denoiser).pop("forward", None)
    try:
        apply_context_parallel(denoiser, config.context_parallel_config, denoiser._cp_plan)
        for processor in _processors(denoiser):
            processor._parallel_config = config
        yield
    finally:
        try:
            for processor in _processors(denoiser):
                processor._parallel_config = None
            remove_context_parallel(denoiser, denoiser._cp_plan)
        finally:
            vars(denoiser).pop("forward", None)
            if gate is not None:
                denoiser.forward = gate


def _processors(denoiser: Any) -> list[Any]:
    return list(filter(None, map(_processor, denoiser.modules())))


def _processor(module: Any) -> Any:
    """Return what computes a module's attention, if that can be split."""
    found = getattr(module, "processor", None)
    return found if hasattr(found, "_parallel_config") and hasattr(found, "_attention_backend") else None
