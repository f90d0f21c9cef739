"""Find the model that describes images."""

from imageserver.api.services import Services
from imageserver.capabilities import check_describes
from imageserver.generation import ModelInfo


def captions_model(service: Services) -> ModelInfo:
    """Return the default model where it describes images, else another one that was loaded.

    Raises Loading before the first one is loaded, NotFound where none does.
    """
    default, snapshot = service.loaded_info(), service.snapshot
    known, loaded = (snapshot.models, snapshot.loaded) if snapshot else ((), ())
    # One that is in memory answers sooner.
    others = sorted(known, key=lambda info: info.name not in loaded)
    found = next((info for info in (default, *others) if info.captions), None)
    check_describes(found is not None)
    assert found is not None
    return found


def has_captions(service: Services) -> bool:
    """Return whether a model that was loaded describes images."""
    return any(info.captions for info in (service.snapshot.models if service.snapshot else ()))
