"""The images of a task stay until it ends, and no longer."""

import os
import time
from types import SimpleNamespace

import pytest

from imageserver.api.dialects.tasks import source_files
from imageserver.errors import Busy
from tests.support.factories import task_store

ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def service(tmp_path):
    settings = SimpleNamespace(state_dir=tmp_path, resolve=lambda path: path)
    pool = SimpleNamespace(run=lambda function, *args: function(*args))
    return SimpleNamespace(tasks=task_store(tmp_path), settings=settings, thread_pool=pool)


def test_the_images_of_a_task_are_there_until_it_has_ended(service):
    source_files.write(service, ID, b"pixels")
    service.tasks.add(task_id=ID, number=1, credential="", wanted="{}", warnings=[])
    source_files.remove_abandoned(service)
    assert source_files.read(service, ID) == b"pixels"
    service.tasks.fail(ID, code="cancelled", sentence="x")
    source_files.remove_ended(service, ID)
    assert source_files.read(service, ID) == b""


def test_a_start_removes_what_tasks_left_that_were_never_accepted_but_not_what_is_being_accepted(service, tmp_path):
    source_files.write(service, "old", b"x")
    source_files.write(service, "new", b"x")
    hours_ago = time.time() - 2 * source_files.MAX_UNKNOWN_SECONDS
    os.utime(tmp_path / source_files.FOLDER / "old", (hours_ago, hours_ago))
    source_files.remove_abandoned(service)
    assert [file.name for file in (tmp_path / source_files.FOLDER).iterdir()] == ["new"]


def test_the_second_task_with_an_id_is_refused_and_the_first_still_followed(service):
    service.tasks.add(task_id=ID, number=1, credential="", wanted="{}", warnings=[])
    with pytest.raises(Busy):
        service.tasks.add(task_id=ID, number=2, credential="", wanted="{}", warnings=[])
    assert service.tasks.find(ID, "").number == 1
    assert service.tasks.adopt(lambda: 9) == []
