"""The number format of a VAE: Stable Diffusion XL's overflows in float16, which its configuration says.

diffusers' pipelines follow `force_upcast` when they encode and decode; outside of them, this does.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def without_overflow(vae: Any) -> Iterator[None]:
    """Let a VAE compute in float32 inside this block, where float16 overflows; its weights come back unchanged."""
    overflows = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    if overflows:
        vae.to(torch.float32)
    try:
        yield
    finally:
        if overflows:
            vae.to(torch.float16)
