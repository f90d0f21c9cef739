"""What is tried when the memory cannot hold an image's decoding: the same in tiles, and the client is told."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch

logger = logging.getLogger(__name__)

IN_TILES = "The memory could not hold the image as a whole, so it was decoded in tiles; faint seams are possible."
# What the client of the image that is being generated shall know; every track has its own list.
current_warnings: ContextVar[list[str] | None] = ContextVar("current_warnings", default=None)


def decode_in_tiles_when_full(vae: Any, release: Callable[[], None]) -> None:
    """Let `vae.decode` try once more in tiles after torch.OutOfMemoryError; a VAE that knows no tiles stays as it is.

    `release` gives cached memory back. What decodes whole or not at all is `vae.decode.whole`.
    """
    whole = vae.decode
    if not (hasattr(vae, "enable_tiling") and hasattr(vae, "disable_tiling")):
        return

    def decode(*arguments: Any, **options: Any) -> Any:
        try:
            return whole(*arguments, **options)
        except torch.OutOfMemoryError:
            if getattr(vae, "use_tiling", False):
                raise
        # Outside the handler, whose traceback would hold what the failed attempt had computed.
        release()
        logger.warning("%s", IN_TILES)
        vae.enable_tiling()
        try:
            image = whole(*arguments, **options)
        finally:
            vae.disable_tiling()
        warnings = current_warnings.get()
        if warnings is not None:
            warnings.append(IN_TILES)
        return image

    decode.whole = whole  # type: ignore[attr-defined]
    vae.decode = decode
