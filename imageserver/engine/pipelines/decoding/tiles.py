"""Decode an image in tiles when the memory cannot hold it as a whole, with a warning for the client."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from imageserver.engine.device_errors import drop_frames, is_out_of_memory

logger = logging.getLogger(__name__)

IN_TILES = "The memory could not hold the image as a whole, so it was decoded in tiles; faint seams are possible."
# Warnings for the client of the image that is being generated; every track has its own list.
current_warnings: ContextVar[list[str] | None] = ContextVar("current_warnings", default=None)


def decode_in_tiles_when_full(vae: Any, release: Callable[[], None]) -> None:
    """Let `vae.decode` retry in tiles where the memory runs out; a VAE without tiling is left as it is.

    `release` returns cached memory. `vae.decode.whole` decodes without the retry.
    """
    whole = vae.decode
    if not (hasattr(vae, "enable_tiling") and hasattr(vae, "disable_tiling")):
        return

    def decode(*arguments: Any, **options: Any) -> Any:
        try:
            return whole(*arguments, **options)
        except (RuntimeError, MemoryError) as error:
            if getattr(vae, "use_tiling", False) or not is_out_of_memory(error):
                raise
            drop_frames(error)
        # Outside the handler, whose traceback would keep the tensors of the failed attempt alive.
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
