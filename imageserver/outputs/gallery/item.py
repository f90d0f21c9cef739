"""A saved image as the gallery shows it, and which of them are asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """A saved image: its name in the store, whose it is, its size in pixels and how it was generated.

    `settings` are fields of `POST /generate` that generate it again, but for the `inputs`: images that were sent with
    its request and are not kept. `created_at` is in Unix seconds. `number` grows with every item.
    """

    name: str
    credential: str
    width: int
    height: int
    model: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...] = ()
    created_at: float = 0.0
    favourite: bool = False
    number: int = 0

    @property
    def searched(self) -> str:
        """The text that a search looks through."""
        return str(self.settings.get("prompt", "")).casefold()

    @property
    def settings_json(self) -> str:
        return json.dumps(dict(self.settings), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The items of one credential, "" for everybody's, with all the words of `query` in their prompts."""

    credential: str = ""
    query: str = ""
    favourites_only: bool = False

    @property
    def words(self) -> list[str]:
        return self.query.casefold().split()


@dataclass(frozen=True)
class Page:
    """Items, newest first, and where the next page begins; None after the last one."""

    items: list[GalleryItem]
    before: int | None
