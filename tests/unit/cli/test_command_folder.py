"""The folder of a command's own server is deleted by the next one where its owner was killed, and only there."""

import subprocess
import sys
import tempfile

import pytest

from imageserver.cli.own_server.command_folder import CommandFolder

OWNER = """
import sys
from imageserver.cli.own_server.command_folder import CommandFolder
with CommandFolder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def folders_in(temporary):
    return {str(folder) for folder in temporary.glob("*/command-*")}


def test_a_folder_is_private_and_goes_with_its_owner(temporary):
    with CommandFolder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "images").mkdir()
    assert folders_in(temporary) == set()


def test_what_a_killed_owner_has_left_is_deleted_by_the_next_one_beside_a_living_one(temporary):
    owners = [
        subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, living = (owner.stdout.readline().strip() for owner in owners)
    owners[0].kill()
    owners[0].communicate()
    assert folders_in(temporary) == {killed, living}
    with CommandFolder() as folder:
        assert folders_in(temporary) == {living, str(folder)}
    owners[1].communicate()
    assert folders_in(temporary) == set()
