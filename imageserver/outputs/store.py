"""Where saved images go: the folder of this machine, or a store behind OUTPUT_URL that several servers can share."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imageserver.errors import StorageUnavailable


@dataclass(frozen=True)
class StoredImage:
    """An image in a store: its size in bytes, how it begins, and a function for some bytes from a position on.

    `address` is where the store itself hands it out for a minute; empty where this server does.
    """

    name: str
    size: int
    beginning: bytes
    read: Callable[[int], bytes]
    address: str = ""

    def read_bytes(self) -> bytes:
        """Return the whole image; raises StorageUnavailable, and NotFound where it was deleted meanwhile."""
        data = self.beginning
        while len(data) < self.size:
            if not (part := self.read(len(data))):
                raise StorageUnavailable("The image became shorter while it was read; ask again.", retry_after=1)
            data += part
        return data


class OutputStore(Protocol):
    """Keeps images under names of its own choice; safe with any number of threads and processes.

    `favourites` are the names of images that a folder keeps beyond their age; None while they are not known.
    """

    favourites: Collection[str] | None

    @property
    def keeps_favourites(self) -> bool:
        """Whether favourites are kept beyond the age of other images."""

    @property
    def obstacle(self) -> str:
        """Why images cannot be kept where they belong at present, in one sentence; empty while they can."""

    def start(self) -> None:
        """Start what it needs, or start it again; asked every few seconds on the main thread."""

    def save(self, data: bytes, *, stem: str, extension: str) -> str:
        """Keep an image under `stem` or the next free `stem-2`, `stem-3`, … and return its name.

        Raises StorageFull and StorageUnavailable.
        """

    def open_image(self, name: str) -> Path | StoredImage:
        """Return a saved image; raises NotFound for every other name, and StorageUnavailable."""

    def delete(self, name: str) -> None:
        """Delete an image, if it is there; raises StorageUnavailable."""

    def is_gone(self, name: str) -> bool:
        """Return whether an image is known to be gone, without asking a store elsewhere."""

    def missing(self, names: Collection[str]) -> list[str]:
        """Return those of all the gallery's names whose images are known to be gone, without asking about each."""

    def maintain(self) -> None:
        """Delete what is over the limits, and find out what stands in the way; asked every few seconds."""
