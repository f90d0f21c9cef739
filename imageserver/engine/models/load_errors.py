"""Why a model could not be loaded, in one sentence for the client who asked for it and for the owner."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from imageserver.engine.downloads import ModelUnavailable

logger = logging.getLogger(__name__)

# What files raise that are broken, missing or another model's. Of anything else the log keeps where it came from.
EXPECTED = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


@contextlib.contextmanager
def explaining_load_errors(model: str, folder: Path) -> Iterator[None]:
    """Turn whatever is raised inside into ModelUnavailable: one bad model must not end the engine that others use.

    That the device is lost passes, as every later call would fail too.
    """
    try:
        yield
    except (ModelUnavailable, torch.AcceleratorError):
        raise
    except Exception as error:
        kind = type(error).__name__
        if not isinstance(error, EXPECTED):
            logger.error("%s cannot be loaded.", model, exc_info=error)
        lines = str(error).strip().splitlines()
        # Clients are told too; where the owner keeps files is not their business.
        reason = lines[0].replace(str(folder), model)[:300] if lines else kind
        named = reason if isinstance(error, EXPECTED) and not isinstance(error, KeyError) else f"{kind}: {reason}"
        raise ModelUnavailable(f"{model} cannot be loaded: {named}") from error
