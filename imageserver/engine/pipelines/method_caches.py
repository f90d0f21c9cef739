"""What diffusers' modules keep in caches of their classes, beyond the life of a model.

`QwenEmbedRope` keeps up to 128 tables of positions on the device, one for each size that clients choose: 3.5 MB at
1328 x 1328.
"""

from collections.abc import Iterator
from typing import Any

import torch


def clear_method_caches(denoiser: torch.nn.Module) -> None:
    """Empty the caches of every method of a denoiser's modules; other models of the class compute theirs again."""
    for kind in {type(module) for module in denoiser.modules()}:
        for cache in method_caches(kind):
            cache.cache_clear()


def method_caches(kind: type) -> Iterator[Any]:
    """Yield the `functools.lru_cache` of every cached method of a class.

    diffusers' own decorator, which steps aside for torch.export, hides it in a closure.
    """
    for base in kind.__mro__:
        for method in vars(base).values():
            hidden = getattr(method, "__closure__", None) or ()
            for found in (method, *(cell.cell_contents for cell in hidden)):
                if hasattr(found, "cache_clear"):
                    yield found
