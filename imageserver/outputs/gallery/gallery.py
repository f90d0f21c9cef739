"""The saved images of a server in the state database: found by prompt, marked as favourites, deleted with an undo."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imageserver.outputs.gallery.item import GalleryItem, Page, Selection
from imageserver.outputs.state import StateDatabase, Statement

# How long what was deleted can be had back.
UNDO_SECONDS = 60.0
# An undo that another worker is writing down meanwhile is not overtaken.
UNDO_MARGIN_SECONDS = 5.0
# A search reads so many prompts in one step: 200 of 1,500 characters take 0.3 ms.
ROWS_PER_STEP = 200
MAX_DELETED_AT_ONCE = 100
# In one statement: 1,000 names one by one stop a worker for a second.
NAMES_PER_STEP = 200
ADD = """
    REPLACE INTO gallery (name, credential, created_at, width, height, model, settings, inputs, searched, bytes)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
SIZES = "SELECT count(*), coalesce(sum(bytes), 0) FROM gallery"
# Not those that wait for their deletion, or their files would stay.
FORGET_OLDEST = """
    DELETE FROM gallery
    WHERE number IN (SELECT number FROM gallery WHERE deleted_at IS NULL ORDER BY favourite, number LIMIT ?)
    RETURNING name
"""


class Gallery:
    """At most `max_items` saved images, with at most `max_bytes` of settings; the oldest leave it first.

    Images that leave it stay where they are saved, until they are over the limits there.
    """

    def __init__(self, state_dir: Path, *, max_items: int, max_bytes: float) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._database = StateDatabase(state_dir)

    def add(self, items: Iterable[GalleryItem]) -> None:
        """Add saved images, all or none; raises StorageFull."""
        statements: list[Statement] = [(ADD, _values(item)) for item in items]
        if statements:
            self._database.execute_together(*statements)

    def page(self, selection: Selection, *, before: int | None, limit: int) -> Page:
        """Return up to `limit` items older than the number `before`; raises StorageFull."""
        found: list[GalleryItem] = []
        for item in self.items(selection, before=before):
            if len(found) == limit:
                return Page(found, found[-1].number)
            found.append(item)
        return Page(found, None)

    def items(self, selection: Selection, *, before: int | None = None) -> Iterator[GalleryItem]:
        """Yield the items, newest first; raises StorageFull."""
        words, last = selection.words, before if before is not None else 2**63 - 1
        visible, values = _visible(selection)
        contains_words = " AND ".join(["1", *("instr(searched, ?)" for _ in words)])
        while True:
            step = f"SELECT * FROM gallery WHERE number < ? AND {visible} ORDER BY number DESC LIMIT {ROWS_PER_STEP}"
            [[end, count]] = self._database.execute(f"SELECT min(number), count(*) FROM ({step})", (last, *values))
            rows = self._database.execute(f"SELECT * FROM ({step}) WHERE {contains_words}", (last, *values, *words))
            yield from map(_item, rows)
            if count < ROWS_PER_STEP:
                return
            last = end
            # Under gevent, others run meanwhile.
            time.sleep(0)

    def count(self, credential: str) -> int:
        """Return how many items there are of one credential, "" for all; raises StorageFull."""
        [[count]] = self._database.execute(
            "SELECT count(*) FROM gallery WHERE deleted_at IS NULL AND ? IN ('', credential)", (credential,)
        )
        return int(count)

    def find(self, name: str, credential: str = "") -> GalleryItem | None:
        """Return an item, also one whose deletion can be undone, unless it is another credential's."""
        rows = self._database.execute(
            "SELECT * FROM gallery WHERE name = ? AND ? IN ('', credential) AND (deleted_at IS NULL OR deleted_at > ?)",
            (name, credential, time.time() - UNDO_SECONDS),
        )
        return next(map(_item, rows), None)

    def has_all(self, names: list[str], credential: str) -> bool:
        """Return whether all these images can be seen; raises StorageFull."""
        visible, values = _visible(Selection(credential=credential))
        [[found]] = self._database.execute(
            f"SELECT count(*) FROM json_each(?) JOIN gallery ON name = value WHERE {visible}",
            (json.dumps(names), *values),
        )
        return int(found) == len(names)

    def change(
        self, name: str, credential: str, *, favourite: bool | None = None, deleted: bool | None = None
    ) -> GalleryItem | None:
        """Mark an item, or delete it and undo that; returns None where `find` would. Raises StorageFull."""
        now = time.time()
        rows = self._database.execute(
            "UPDATE gallery SET favourite = coalesce(?, favourite), "
            "deleted_at = CASE ? WHEN 1 THEN coalesce(deleted_at, ?) WHEN 0 THEN NULL ELSE deleted_at END "
            "WHERE name = ? AND ? IN ('', credential) AND (deleted_at IS NULL OR deleted_at > ?) RETURNING *",
            (favourite, deleted, now, name, credential, now - UNDO_SECONDS),
        )
        return next(map(_item, rows), None)

    def favourites(self) -> frozenset[str]:
        """Return the names of all favourites; raises StorageFull."""
        rows = self._database.execute("SELECT name FROM gallery WHERE favourite = 1 AND deleted_at IS NULL")
        return frozenset(row["name"] for row in rows)

    def due(self) -> list[str]:
        """Return the names of images to be deleted now, in any order; raises StorageFull."""
        rows = self._database.execute(
            # So many that cannot be deleted keep no others from their turn.
            "SELECT name FROM gallery WHERE deleted_at < ? ORDER BY random() LIMIT ?",
            (time.time() - UNDO_SECONDS - UNDO_MARGIN_SECONDS, MAX_DELETED_AT_ONCE),
        )
        return [row["name"] for row in rows]

    def names(self) -> Iterator[list[str]]:
        """Yield the names of all items in portions; raises StorageFull."""
        last = 0
        while rows := self._database.execute(
            "SELECT number, name FROM gallery WHERE number > ? ORDER BY number LIMIT 1000", (last,)
        ):
            yield [row["name"] for row in rows]
            last = rows[-1]["number"]
            time.sleep(0)

    def has_deleted(self) -> bool:
        """Return whether images wait for their deletion; raises StorageFull."""
        return bool(self._database.execute("SELECT 1 FROM gallery WHERE deleted_at > 0 LIMIT 1"))

    def forget(self, names: Sequence[str]) -> None:
        """Remove images that are gone; raises StorageFull."""
        for first in range(0, len(names), NAMES_PER_STEP):
            some = json.dumps(names[first : first + NAMES_PER_STEP])
            self._database.execute("DELETE FROM gallery WHERE name IN (SELECT value FROM json_each(?))", (some,))
            time.sleep(0)

    def forget_excess(self) -> list[str]:
        """Remove some of the oldest items over the limits, favourites last; return names. Raises StorageFull."""
        # Apart, because an index serves the sum of all, and few wait for their deletion.
        [[count, used]] = self._database.execute(SIZES)
        [[leaving, freed]] = self._database.execute(f"{SIZES} WHERE deleted_at > 0")
        count -= leaving
        excess = count - self._max_items
        if excess <= 0 and used - freed > self._max_bytes:
            # Their sizes differ, so the next look tells whether these were enough.
            excess = 1 + count // 20
        if excess <= 0:
            return []
        rows = self._database.execute(FORGET_OLDEST, (min(int(excess), MAX_DELETED_AT_ONCE),))
        return [row["name"] for row in rows]


def _visible(selection: Selection) -> tuple[str, tuple[str, ...]]:
    """Return the condition of what a selection sees before its words are looked for, and its values."""
    # With the sign, the index by deletion is not used: all rows would be sorted for every page.
    condition = "+deleted_at IS NULL" + (" AND favourite = 1" if selection.favourites_only else "")
    # Not one condition for both: no index would serve it.
    return (f"{condition} AND credential = ?", (selection.credential,)) if selection.credential else (condition, ())


def _values(item: GalleryItem) -> tuple[Any, ...]:
    inputs, settings, searched = json.dumps(item.inputs), item.settings_json, item.searched
    stored = len(settings.encode()) + len(searched.encode())
    return (
        item.name, item.credential, item.created_at or time.time(), item.width, item.height, item.model, settings,
        inputs, searched, stored,
    )  # fmt: skip


def _item(row: sqlite3.Row) -> GalleryItem:
    return GalleryItem(
        name=row["name"],
        credential=row["credential"],
        width=row["width"],
        height=row["height"],
        model=row["model"],
        settings=json.loads(row["settings"]),
        inputs=tuple(json.loads(row["inputs"])),
        created_at=row["created_at"],
        favourite=bool(row["favourite"]),
        number=row["number"],
    )
