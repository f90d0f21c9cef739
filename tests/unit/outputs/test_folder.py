"""Saving images and handing them out again."""

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imageserver.errors import NotFound, StorageFull
from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.naming import file_stem

STEM = "Qwen-Image-20261120_150405-req5"


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path / "tmp", max_mb=100, max_age=3600)


def names(folder: OutputFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def refuse(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, number: int) -> None:
    def refusing(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number), "/secret/place")

    monkeypatch.setattr(target, name, refusing)


def test_the_file_name_is_the_documented_one() -> None:
    when = datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC)
    assert file_stem(when, 5, None) == STEM
    assert file_stem(when, 5, 2) == f"{STEM}-2"


def test_an_image_is_saved_whole_and_nothing_else(folder: OutputFolder) -> None:
    name = folder.save(b"image", stem=STEM, extension="png")
    assert name == f"{STEM}.png"
    assert (folder.path / name).read_bytes() == b"image"
    assert names(folder) == [f"{STEM}.png"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_taken_name_is_never_overwritten(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        refuse(monkeypatch, os, "link", errno.ENOTSUP)
    for data in (b"first", b"second", b"third"):
        folder.save(data, stem=STEM, extension="png")
    contents = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert contents == {f"{STEM}.png": b"first", f"{STEM}-2.png": b"second", f"{STEM}-3.png": b"third"}


@pytest.mark.fault(18)
@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_many_at_once_get_a_name_each(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        refuse(monkeypatch, os, "link", errno.ENOTSUP)
    contents = [f"image {number}".encode() for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda data: folder.save(data, stem=STEM, extension="png"), contents))
    assert len(set(saved)) == 40
    assert [(folder.path / name).read_bytes() for name in saved] == contents
    assert len(names(folder)) == 40


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "not writable"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "input/output"),
    ],
)
@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_disk_that_refuses_says_507_and_leaves_nothing(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, step: str
) -> None:
    with monkeypatch.context() as patched:
        refuse(patched, os, "link", errno.ENOTSUP)
        if step == "open":
            refuse(patched, io, "open", number)
        else:
            refuse(patched, Path, "replace", number)
        with pytest.raises(StorageFull, match=reason) as caught:
            folder.save(b"image", stem=STEM, extension="png")
    assert caught.value.status == 507
    assert "/" not in caught.value.sentence.replace("input/output", "")
    assert names(folder) == []


@pytest.mark.fault(16)
def test_a_disk_that_fills_while_writing_leaves_no_partial_file(folder: OutputFolder) -> None:
    limited = Path("/dev/full")
    if not limited.exists():
        pytest.skip("this machine has no /dev/full")
    opened = Path.open
    with pytest.MonkeyPatch.context() as patched:

        def open_then_fill(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            opened(self, mode, *rest, **options).close()
            return opened(limited, "wb", buffering=0)

        patched.setattr(Path, "open", open_then_fill)
        with pytest.raises(StorageFull, match="disk is full"):
            folder.save(b"image" * 10_000, stem=STEM, extension="png")
    assert names(folder) == []


def test_a_file_where_the_folder_should_be_says_507(tmp_path: Path) -> None:
    (tmp_path / "tmp").write_bytes(b"in the way")
    with pytest.raises(StorageFull) as caught:
        OutputFolder(tmp_path / "tmp", max_mb=1, max_age=1).save(b"image", stem=STEM, extension="png")
    assert str(tmp_path) not in caught.value.sentence


@pytest.mark.parametrize("stem", ["", "../escape", "a/b", "a\\b", ".hidden", "nul\0"])
def test_a_stem_cannot_leave_the_folder(folder: OutputFolder, stem: str) -> None:
    with pytest.raises(ValueError, match="stem"):
        folder.save(b"image", stem=stem, extension="png")


def test_a_saved_image_is_found_by_its_name(folder: OutputFolder) -> None:
    name = folder.save(b"image", stem=STEM, extension="png")
    assert folder.open_image(name).read_bytes() == b"image"


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../secret.png", "..\\secret.png", "/etc/passwd", "%2e%2e/secret.png", "%2e%2e%2fsecret.png",
        "secret.png\0.png",
        f"{STEM}.png\0", f"{STEM}.png\n", f"./{STEM}.png", "C:secret.png", f"{STEM}.png::$DATA",
        ".gitkeep", "link.png", "folder.png", "missing.png", "notes.txt", "x" * 5000 + ".png", "\ud800.png",
        "sub/inner.png",
    ],
    ids=ascii,
)  # fmt: skip
def test_no_name_reaches_anything_but_an_image(folder: OutputFolder, name: str) -> None:
    folder.save(b"image", stem=STEM, extension="png")
    (folder.path.parent / "secret.png").write_bytes(b"secret")
    (folder.path / "link.png").symlink_to(folder.path.parent / "secret.png")
    (folder.path / "folder.png").mkdir()
    (folder.path / "sub").mkdir()
    (folder.path / "sub" / "inner.png").write_bytes(b"secret")
    for other in (".gitkeep", "notes.txt"):
        (folder.path / other).write_bytes(b"secret")
    with pytest.raises(NotFound):
        folder.open_image(name)


def test_a_saved_image_survives_its_own_sweep(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, max_mb=0.000_001, max_age=3600)
    name = folder.save(b"image" * 100, stem=STEM, extension="png")
    assert (tmp_path / name).exists()


def test_saving_sweeps_old_images_at_most_once_a_minute(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, max_mb=100, max_age=3600)
    for request, gone in ((1, True), (2, False)):
        old = tmp_path / f"Qwen-Image-20200101_000000-req{request}.png"
        old.write_bytes(b"old")
        os.utime(old, (0, 0))
        folder.save(b"new", stem=f"{STEM}{request}", extension="png")
        assert old.exists() is not gone


def named(days_ago: float, number: int) -> str:
    return f"{file_stem(datetime.now(UTC) - timedelta(days=days_ago), number)}.png"


def test_images_that_are_gone_are_missing_unless_most_are(folder: OutputFolder) -> None:
    folder.max_age = 7 * 86400
    stay = [folder.save(b"image", stem=file_stem(datetime.now(UTC), number), extension="png") for number in (1, 2)]
    gone = [named(1, 3), named(1, 4)]
    assert folder.missing([*gone, *stay]) == gone


def test_the_empty_folder_of_a_volume_that_is_not_mounted_lacks_only_what_is_too_old(folder: OutputFolder) -> None:
    folder.max_age = 7 * 86400
    folder.path.mkdir()
    young, old, favourite = [named(1, number) for number in range(9)], named(8, 10), named(30, 11)
    folder.favourites = {favourite}
    assert folder.missing([*young, old, favourite]) == [old]
    # A server that goes on saves new images there.
    new = folder.save(b"image", stem=file_stem(datetime.now(UTC), 12), extension="png")
    assert folder.missing([*young, old, favourite, new]) == [old]
    folder.favourites = None
    assert folder.missing([*young, old, favourite, new]) == []
