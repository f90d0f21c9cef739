"""Why a model could not be loaded, in one sentence for the client and the owner."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from imageserver.engine.device_errors import is_lost
from imageserver.engine.downloads import ModelUnavailable

logger = logging.getLogger(__name__)

# What broken, missing or wrong files raise; anything else is logged with its traceback.
EXPECTED = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


@contextlib.contextmanager
def explaining_load_errors(model: str, folder: Path) -> Iterator[None]:
    """Raise any error inside as ModelUnavailable: one bad model must not end the engine that others use.

    A lost device is not converted, as every later call would fail too.
    """
    try:
        yield
    except ModelUnavailable:
        raise
    except Exception as error:
        if is_lost(error):
            raise
        kind = type(error).__name__
        if not isinstance(error, EXPECTED):
            logger.error("%s cannot be loaded.", model, exc_info=error)
        lines = str(error).strip().splitlines()
        # Clients see it too, but not the owner's paths.
        reason = lines[0].replace(str(folder), model)[:300] if lines else kind
        named = reason if isinstance(error, EXPECTED) and not isinstance(error, KeyError) else f"{kind}: {reason}"
        raise ModelUnavailable(f"{model} cannot be loaded: {named}") from error
