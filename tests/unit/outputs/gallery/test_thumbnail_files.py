"""Thumbnails are kept on disk, and a full or foreign folder does no harm."""

import pytest

from imageserver.outputs.gallery import thumbnails as module
from imageserver.outputs.gallery.thumbnails import Thumbnails

NAME = "Qwen-Image-20261120_150405-req5.png"


def test_a_thumbnail_that_was_kept_is_there_until_its_image_is_gone(tmp_path):
    thumbnails = Thumbnails(tmp_path / "new", max_mb=1)
    assert thumbnails.get(NAME) is None
    thumbnails.put(NAME, b"small")
    assert thumbnails.get(NAME) == b"small"
    thumbnails.delete([NAME, NAME])
    assert thumbnails.get(NAME) is None


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..", "a/b.png", "", "\x00.png"])
def test_no_name_reaches_a_file_elsewhere(tmp_path, name):
    (tmp_path / "secret.png.thumbnail").write_bytes(b"secret")
    thumbnails = Thumbnails(tmp_path / "thumbnails", max_mb=1)
    assert thumbnails.get(name) is None
    thumbnails.delete([name])
    assert (tmp_path / "secret.png.thumbnail").exists()


def test_a_disk_that_refuses_costs_only_the_thumbnail(tmp_path, caplog):
    (tmp_path / "file").touch()
    Thumbnails(tmp_path / "file" / "thumbnails", max_mb=1).put(NAME, b"small")
    assert "cannot be kept" in caplog.text


def test_the_folder_stays_below_its_limit(tmp_path, monkeypatch):
    thumbnails = Thumbnails(tmp_path, max_mb=2 / 1024)
    for number in range(5):
        thumbnails.put(f"{number}.png", bytes(1000))
    thumbnails.maintain()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 2000
    monkeypatch.setattr(module.retention, "sweep", lambda *arguments, **options: pytest.fail("too often"))
    thumbnails.maintain()
