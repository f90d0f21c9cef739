"""The hooks that diffusers puts on a transformer's modules."""

from typing import Any

# A ModelHook of diffusers; its types know nothing of what the caches' hooks keep.
Hook = Any


def hooks_on(transformer: Any, kinds: tuple[type, ...]) -> list[Hook]:
    """Return the hooks of these classes; raises ValueError when there is none."""
    found = [
        hook
        for module in transformer.modules()
        if hasattr(module, "_diffusers_hook")
        for hook in module._diffusers_hook.hooks.values()
        if isinstance(hook, kinds)
    ]
    if not found:
        raise ValueError(f"diffusers finds no blocks in {type(transformer).__name__}")
    return found
