"""The state database: made once, whoever comes first, and the databases of older servers are taken over."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from imageserver.api.dialects.automatic1111.options import StoredOptions
from imageserver.api.wsgi.request_ids import BLOCK, RequestIds
from imageserver.generation import Outcome
from imageserver.outputs.cache import Answer, OutputCache
from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.schema import STEPS
from imageserver.outputs.state import FILE, LOCK, StateDatabase
from imageserver.outputs.state_check import check_state
from imageserver.outputs.webhook_store import WebhookStore
from tests.support.factories import task_store
from tests.support.gallery import gallery_item

# As servers of November 2026 left it: SQL and all.
OLD_COUNTER = """
    CREATE TABLE counter (id INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    INSERT INTO counter VALUES (1, 41);
"""
OLD_TASKS = """
    CREATE TABLE tasks (
        task_id TEXT PRIMARY KEY, number INTEGER NOT NULL, credential TEXT NOT NULL, wanted TEXT NOT NULL,
        state TEXT NOT NULL, owner INTEGER, attempts INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL,
        processing_time REAL, files TEXT NOT NULL, seeds TEXT NOT NULL, error TEXT, code TEXT, warnings TEXT NOT NULL
    );
    CREATE INDEX tasks_by_state ON tasks (state, completed_at);
    INSERT INTO tasks VALUES
        ('open', 7, 'ann', '{}', 'queued', NULL, 1, 1e9, NULL, NULL, '[]', '[]', NULL, NULL, '["w"]'),
        ('done', 8, '', '{}', 'completed', NULL, 1, 1e9, 9e9, 1.5, '["a.png"]', '[3]', NULL, NULL, '[]');
"""
OLD_WEBHOOKS = """
    CREATE TABLE webhooks (
        task_id TEXT PRIMARY KEY, url TEXT NOT NULL, site TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
        due REAL NOT NULL, error TEXT
    );
    CREATE INDEX due_webhooks ON webhooks (state, due);
    CREATE TRIGGER forget_webhook AFTER UPDATE OF state ON tasks WHEN NEW.state = 'expired'
    BEGIN DELETE FROM webhooks WHERE task_id = NEW.task_id; END;
    INSERT INTO webhooks VALUES ('done', 'http://receiver.example/', 'http://here/', 'waiting', 2, 5.0, 'It slept.');
"""
OUTCOME = Outcome(width=2, height=1, seeds=(1,), inference_time=0.5, queue_time=0.1, batch_size=1)
# Killed without closing: the newest rows are in the -wal file beside the database.
LEAVE = (
    "import os, sqlite3, sys\ndatabase = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    "database.execute('PRAGMA journal_mode = WAL')\ndatabase.executescript(sys.argv[2])\nos._exit(0)"
)
OPEN = (
    "import sys\nfrom pathlib import Path\nfrom imageserver.api.wsgi.request_ids import RequestIds\n"
    "from tests.support.factories import task_store\n"
    "sys.stdin.read()\nids, tasks = RequestIds(Path(sys.argv[1])), task_store(Path(sys.argv[1]))\n"
    "for _ in range(100): print(ids.next_id())\nassert tasks.count_open() == 1"
)


def leave(file, script):
    subprocess.run([sys.executable, "-c", LEAVE, str(file), script], check=True)


@pytest.fixture
def old_folder(tmp_path):
    leave(tmp_path / "request_ids.sqlite", OLD_COUNTER)
    leave(tmp_path / "tasks.sqlite", OLD_TASKS + OLD_WEBHOOKS)
    return tmp_path


def test_an_old_folder_is_taken_over_whole(old_folder):
    assert (old_folder / "tasks.sqlite-wal").exists()
    assert RequestIds(old_folder).next_id() == 42
    tasks, webhooks = task_store(old_folder), WebhookStore(old_folder)
    waiting, done = tasks.find("open", "ann"), tasks.find("done", "")
    assert (waiting.state, waiting.number, waiting.warnings, waiting.created_at) == ("queued", 7, ("w",), 1e9)
    assert (done.state, done.files, done.seeds, done.processing_time) == ("completed", ("a.png",), (3,), 1.5)
    [due] = webhooks.due(10.0, most_of_a_host=10)
    webhook = webhooks.claim(due, 10.0, lease=20)
    assert (webhook.task_id, webhook.url, webhook.attempts, webhook.error) == (
        "done", "http://receiver.example/", 3, "It slept.",
    )  # fmt: skip
    assert {file.name for file in old_folder.iterdir()} <= {FILE, LOCK, f"{FILE}-wal", f"{FILE}-shm"}


def test_workers_that_start_at_once_take_it_over_once_and_share_one_counter(old_folder):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(old_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.stdin.close()
    numbers = []
    for worker in workers:
        numbers += map(int, worker.stdout.read().split())
        worker.stdout.close()
        assert worker.wait() == 0
    # Each has reserved a block when it started, and another one when half of that was used.
    assert len(set(numbers)) == 400
    assert min(numbers) == 42
    assert max(numbers) < 42 + 4 * 3 * BLOCK


def test_a_folder_without_webhooks_is_taken_over_too(tmp_path):
    leave(tmp_path / "tasks.sqlite", OLD_TASKS)
    assert task_store(tmp_path).find("open", "ann") is not None


def test_an_old_server_that_ran_in_between_sets_nothing_back(old_folder):
    ids, tasks = RequestIds(old_folder), task_store(old_folder)
    numbers = [ids.next_id() for _ in range(10)]
    tasks.fail("open", code="cancelled", sentence="x")
    leave(old_folder / "request_ids.sqlite", OLD_COUNTER)
    leave(old_folder / "tasks.sqlite", OLD_TASKS + OLD_WEBHOOKS)
    assert RequestIds(old_folder).next_id() > numbers[-1]
    assert task_store(old_folder).find("open", "").state == "cancelled"


def test_a_database_of_version_1_is_brought_up_to_date_and_its_open_tasks_are_adopted(tmp_path):
    leave(tmp_path / FILE, OLD_COUNTER + OLD_TASKS + OLD_WEBHOOKS + "PRAGMA user_version = 1")
    leave(tmp_path / FILE, f"UPDATE tasks SET owner = {os.getpid()}, wanted = 'a prompt'")
    assert check_state(tmp_path) == ""
    tasks = task_store(tmp_path)
    assert [(task.task_id, task.attempts) for task in tasks.adopt(lambda: 42)] == [("open", 2)]
    done = tasks.find("done", "")
    assert (done.state, done.files, done.wanted) == ("completed", ("a.png",), "")
    assert WebhookStore(tmp_path).find("done").attempts == 2
    assert RequestIds(tmp_path).next_id() == 42
    # Only such a file shrinks.
    assert StateDatabase(tmp_path).execute("PRAGMA auto_vacuum")[0][0] == 2


def test_an_old_database_that_cannot_be_read_stays_and_is_one_sentence(old_folder):
    (old_folder / "tasks.sqlite-wal").unlink()
    (old_folder / "tasks.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(SystemExit, match=r"^STATE_DIR=.* cannot be used\. The old database .*not a database\.$"):
        check_state(old_folder)
    assert (old_folder / "tasks.sqlite").exists()
    assert (old_folder / "request_ids.sqlite").exists()


def test_a_database_of_a_newer_version_is_refused_in_one_sentence(tmp_path):
    check_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("PRAGMA user_version = 1000")
    with pytest.raises(SystemExit, match="newer version"):
        check_state(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^STATE_DIR=.* cannot be written: "):
        check_state(tmp_path / "file")


def test_all_that_is_stored_is_closed_to_other_users(tmp_path):
    folder = tmp_path / "state"
    tasks = task_store(folder)
    tasks.add(number=1, credential="", wanted="{}", warnings=[])
    OutputCache(folder / "answers", max_mb=1).put("key", Answer(OUTCOME, (b"x",)))
    StoredOptions(folder).set_samples_format("", "jpg")
    images = OutputFolder(tmp_path / "images", max_mb=1, max_age=1000)
    images.save(b"x", stem="image", extension="png")
    found = [folder, *folder.rglob("*"), images.path, *images.path.iterdir()]
    assert {"state.sqlite-wal", "state.lock", "owners", "key.answer", "image.png"} <= {path.name for path in found}
    assert [path for path in found if path.stat().st_mode & 0o077] == []


def test_files_of_older_versions_are_closed_too(tmp_path):
    leave(tmp_path / FILE, OLD_COUNTER + OLD_TASKS + OLD_WEBHOOKS + "PRAGMA user_version = 1")
    (tmp_path / FILE).chmod(0o644)
    check_state(tmp_path)
    assert [file for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []


def test_a_database_of_version_4_gets_a_gallery_and_keeps_its_tasks(tmp_path):
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        for statement in [each for step in STEPS[:4] for each in step]:
            database.execute(statement)
        database.execute("PRAGMA user_version = 4")
        database.execute(
            "INSERT INTO tasks (task_id, number, credential, wanted, state, attempts, created_at, files, seeds, "
            "warnings) VALUES ('open', 7, '', '{}', 'queued', 1, 1e9, '[]', '[]', '[]')"
        )
    assert check_state(tmp_path) == ""
    gallery = Gallery(tmp_path, max_items=9, max_bytes=2**20)
    gallery.add([gallery_item("a.png")])
    assert gallery.find("a.png") is not None
    assert task_store(tmp_path).find("open", "").state == "queued"
