"""A file is whole or not there, whoever reads it and whatever fails."""

import os
import stat
from pathlib import Path

import pytest

from imageserver.atomic_write import write_atomically


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    file = tmp_path / "new" / "file.json"
    for content in (b"first", b"second"):
        write_atomically(file, content)
        assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_the_old_content_stays_when_the_disk_refuses(tmp_path, monkeypatch):
    file = tmp_path / "file.json"
    write_atomically(file, b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    for step in ("write_bytes", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, step, refuse)
            with pytest.raises(OSError, match="No space"):
                write_atomically(file, b"new")
        assert file.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_private_file_is_for_its_user_alone(tmp_path):
    write_atomically(tmp_path / "secret", b"1", private=True)
    write_atomically(tmp_path / "public", b"1")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert (tmp_path / "public").stat().st_mode & 0o444
