"""An owner of tasks lives as long as its process, whatever that process's id was."""

import subprocess
import sys

import pytest

from imageserver.errors import StorageFull
from imageserver.outputs.task_owner import FOLDER, TaskOwner

# Its process id is the same in every start: that of the first process of a container.
IN_A_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
OWN = (
    "import os, sys\nfrom pathlib import Path\nfrom imageserver.outputs.task_owner import TaskOwner\n"
    "owner = TaskOwner(Path(sys.argv[1]))\nprint(owner.name(), os.getpid(), flush=True)\nsys.stdin.read()"
)


def can_unshare():
    try:
        return subprocess.run([*IN_A_CONTAINER, "true"], stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def start_owner(folder, prefix=()):
    """Return a process that owns tasks, its name and its own process id."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    name, pid = process.stdout.readline().split()
    return process, name, pid


def end(process):
    process.kill()
    process.communicate()


def test_it_lives_until_its_process_is_killed(tmp_path):
    process, name, _ = start_owner(tmp_path)
    assert TaskOwner(tmp_path).lives(name)
    end(process)
    assert not TaskOwner(tmp_path).lives(name)


def test_it_sees_itself_and_others_of_its_own_process(tmp_path):
    first, second = TaskOwner(tmp_path), TaskOwner(tmp_path)
    assert first.name() == first.name() != second.name()
    assert first.lives(second.name())
    assert first.lives(first.name())


@pytest.mark.skipif(not can_unshare(), reason="This machine makes no process id namespaces (unshare).")
def test_the_same_process_id_after_a_restart_is_another_owner(tmp_path):
    process, before, pid_before = start_owner(tmp_path, IN_A_CONTAINER)
    assert TaskOwner(tmp_path).lives(before)
    end(process)
    process, after, pid_after = start_owner(tmp_path, IN_A_CONTAINER)
    assert pid_before == pid_after == "1"
    owner = TaskOwner(tmp_path)
    assert (owner.lives(before), owner.lives(after)) == (False, True)
    end(process)


@pytest.mark.fault(40)
def test_a_process_that_sees_the_dead_one_s_id_as_its_own_is_another_owner(tmp_path):
    """As above, on machines without namespaces."""
    same_pid = [sys.executable, "-c", f"import os\nos.getpid = lambda: 1\n{OWN}", str(tmp_path)]
    names = []
    for _ in range(2):
        process = subprocess.Popen(same_pid, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        name, pid = process.stdout.readline().split()
        owner = TaskOwner(tmp_path)
        assert pid == "1"
        assert [owner.lives(each) for each in (*names, name)] == [False] * len(names) + [True]
        names.append(name)
        end(process)


@pytest.mark.parametrize("name", ["", "process 4711", "4711", "../owner", "0" * 32])
def test_a_name_that_nobody_holds_is_nobody(tmp_path, name):
    owner = TaskOwner(tmp_path)
    owner.name()
    assert not owner.lives(name)


def test_files_of_ended_owners_do_not_pile_up(tmp_path):
    for _ in range(3):
        process, name, _ = start_owner(tmp_path)
        end(process)
    living = TaskOwner(tmp_path).name()
    assert name != living
    assert [file.stem for file in (tmp_path / FOLDER).iterdir()] == [living]


def test_an_owner_whose_folder_was_deleted_claims_another_name(tmp_path):
    owner = TaskOwner(tmp_path)
    before = owner.name()
    (tmp_path / FOLDER / f"{before}.lock").unlink()
    after = owner.name()
    assert TaskOwner(tmp_path).lives(after)
    assert before != after


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFull):
        TaskOwner(tmp_path / "file").name()
