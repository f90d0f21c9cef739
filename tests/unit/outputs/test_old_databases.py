"""A state folder of every earlier version opens, and nothing in it is lost: databases as those versions wrote them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imageserver.api.wsgi.request_ids import RequestIds
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.schema import STEPS
from imageserver.outputs.state import FILE, StateDatabase
from imageserver.outputs.state_check import check_state
from imageserver.outputs.webhook_store import WebhookStore
from tests.support.factories import task_store

DUMPS = Path(__file__).parent / "old_databases"
VERSIONS = range(1, len(STEPS) + 1)
# What came with which version.
USAGE, LEASE, GALLERY = 3, 4, 5


@pytest.fixture(params=VERSIONS, ids="version {}".format)
def opened(request, tmp_path):
    """Return the version that wrote a state folder, and the folder after a server has opened it."""
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.executescript((DUMPS / f"version_{request.param}.sql").read_text(encoding="utf-8"))
    assert check_state(tmp_path) == ""
    return request.param, tmp_path


def tables(folder):
    """Return every table, index and trigger; the texts of changed tables differ in blanks."""
    rows = StateDatabase(folder).execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {row["name"]: "".join(row["sql"].split()) for row in rows}


def test_it_has_the_tables_of_a_new_one(opened, tmp_path_factory):
    new = tmp_path_factory.mktemp("new")
    RequestIds(new).next_id()
    assert tables(opened[1]) == tables(new)


def test_its_open_tasks_go_on_and_its_ended_ones_are_still_told(opened):
    _, folder = opened
    tasks = task_store(folder)
    done = tasks.find("done", "k")
    assert (done.state, done.files, done.seeds, done.wanted) == ("completed", ("a.png",), (7,), "")
    adopted = {task.task_id: (task.wanted, task.attempts, task.warnings) for task in tasks.adopt(lambda: 42)}
    assert adopted == {
        "running": ('{"prompt":"a red circle"}', 2, ("a warning",)),
        "waiting": ('{"prompt":"a blue square"}', 2, ()),
    }
    assert WebhookStore(folder).find("waiting").url == "https://receiver.example/hook"


def test_its_numbers_and_usage_and_gallery_go_on(opened):
    version, folder = opened
    assert RequestIds(folder).next_id() == 42
    database = StateDatabase(folder)
    usage = [tuple(row) for row in database.execute("SELECT * FROM usage")]
    assert usage == ([("k", "day", 4_000_000_000, 12.5)] if version >= USAGE else [])
    [[lease]] = database.execute("SELECT last FROM counter WHERE id = 2")
    assert lease == (5 if version >= LEASE else 0)
    item = Gallery(folder, max_items=9, max_bytes=2**20).find("a.png")
    assert (item and (item.number, item.favourite, item.model)) == ((3, True, "demo") if version >= GALLERY else None)


def test_every_version_has_left_a_database_here():
    """A new step of the schema comes with a database of the version that it makes: a dump, and its user_version."""
    assert sorted(file.name for file in DUMPS.iterdir()) == [f"version_{version}.sql" for version in VERSIONS]
