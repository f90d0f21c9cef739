"""What a hub has of a model, kept beside the downloads: a start compares it with the disk and asks no hub.

It holds the sizes of all files, not of those that were fetched: which of them are needed depends on the settings.
"""

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from imageserver.atomic_write import write_atomically


@dataclass(frozen=True)
class Listing:
    """The bytes of every file that a hub has at a revision, and the folder on the disk that they are fetched into."""

    files: Mapping[str, int]
    folder: Path

    def present(self) -> set[str]:
        """Return the files that are whole on the disk."""
        return {name for name, size in self.files.items() if _size(self.folder / name) == size}

    def write(self, file: Path) -> None:
        """Keep it for the next start; without the right to write here, that one asks the hub again."""
        models, folder = file.parent.parent, self.folder
        if folder.is_relative_to(models):
            folder = folder.relative_to(models)  # the folder for models may be moved
        with contextlib.suppress(OSError):
            write_atomically(file, json.dumps({"folder": folder.as_posix(), "files": self.files}, indent=1).encode())


def read_listing(file: Path) -> Listing | None:
    """Return the listing that an earlier start has kept; None where there is none, or it is unreadable."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Listing(content["files"], file.parent.parent / content["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def listing_file(models: Path, hub: str, model: str, revision: str | None) -> Path:
    """Return where the listing of a model is kept in the folder for models."""
    name = "--".join((hub, *model.split("/"), *(revision or "newest").split("/")))
    return models / "listings" / f"{name}.json"


def missing_bytes(files: Mapping[str, int], wanted: Collection[str], present: Collection[str]) -> int:
    """Return the bytes of the wanted files that are not on the disk."""
    return sum(files[name] for name in wanted if name not in present)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1
