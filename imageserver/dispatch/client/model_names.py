"""What clients call a model that is a folder of the machine: by the last name of the folder, not by its path."""

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from imageserver.registry import RESERVED

DIGEST_LETTERS = 6


class ModelNames:
    """The models that are known by an absolute path; every other name is what clients call the model too."""

    def __init__(self, configured: str, registered: Collection[str]) -> None:
        """Know the model of the settings, and the names that are taken by those of MODELS_FILE."""
        self._configured = configured
        self._taken = {*registered, *RESERVED}
        self._folders: dict[str, str] = {}  # path -> what clients call it
        self.learn([configured])

    @property
    def folders(self) -> dict[str, str]:
        """The known paths, and what clients call each."""
        return self._folders

    def learn(self, names: Iterable[str]) -> bool:
        """Know further models; returns whether there was a new path."""
        found = {name for name in names if Path(name).is_absolute()} - self._folders.keys()
        if found:
            known = sorted({*self._folders, *found})
            self._folders = {path: self._name(path, known) for path in known}
        return bool(found)

    def shown(self, name: str) -> str:
        """Return what clients call a model."""
        return self._folders.get(name, name)

    def real(self, name: str) -> str:
        """Return the name of a model by what clients call it, or by its name."""
        return next((path for path, shown in self._folders.items() if shown == name), name)

    def _name(self, path: str, known: Iterable[str]) -> str:
        """Return the last name of a folder, with a digest where that would be another model's too.

        It does not depend on the order in which models are loaded: no name comes to mean another model.
        """
        last = Path(path).name
        rivals = [other for other in known if other != path and Path(other).name == last]
        if last and last not in self._taken and (not rivals or path == self._configured):
            return last
        return f"{last}-{hashlib.sha256(path.encode()).hexdigest()[:DIGEST_LETTERS]}"
