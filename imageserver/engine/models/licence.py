"""What a model's licence forbids, for the log: the server serves such a model only where somebody has named it."""

from imageserver.registry import Registry
from imageserver.settings import shipped_registry


def restriction(source: str, registry: Registry) -> str | None:
    """Return a sentence about a model that may not be used commercially; None where that is allowed or unknown.

    It is known by its `source`, also where no name of `models.toml` was used.
    """
    entries = (*registry.values(), *shipped_registry().values())
    entry = next((entry for entry in entries if entry.source == source and not entry.commercial), None)
    if entry is None:
        return None
    licence = f" ({entry.licence})" if entry.licence else ""
    return f"The licence of {source}{licence} forbids commercial use."
