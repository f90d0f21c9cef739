"""See what a VAE's decoder computed before anything limits it: clamped to the range of pixels, infinity is white."""

from typing import Any

import torch

from imageserver.errors import GenerationFailed


def refuse_what_is_no_number(vae: Any) -> None:
    """Let decoding raise GenerationFailed where the decoder computes NaN or infinite values."""
    decoder = getattr(vae, "decoder", None)
    # Several runners may share a VAE.
    if isinstance(decoder, torch.nn.Module) and _look not in decoder._forward_hooks.values():
        decoder.register_forward_hook(_look)


def require_finite(image: torch.Tensor) -> None:
    """Raise GenerationFailed for NaN or infinite values; as bytes they would be black, white or noise, and cached."""
    # One pass instead of the four of isfinite over every pixel; in float32 no sum of values of that size overflows.
    if not torch.isfinite(image.sum(dtype=torch.float32)):
        raise GenerationFailed(
            "The model computed NaN or infinite values, so there is no image; other parameters or DTYPE=float32 "
            "may help."
        )


def _look(decoder: torch.nn.Module, arguments: tuple[Any, ...], image: torch.Tensor) -> None:
    require_finite(image)
