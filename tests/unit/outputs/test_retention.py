"""Which files go when the output folder is over its limits."""

import os
from pathlib import Path

import pytest

from imageserver.outputs.retention import Swept, sweep

NOW = 1_800_000_000.0


def put(folder: Path, name: str, *, age: float, size: int = 1000) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age, NOW - age))
    return path


def image(folder: Path, request: int, *, age: float, size: int = 1000, extension: str = "png") -> Path:
    return put(folder, f"Qwen-Image-20261120_150405-req{request}.{extension}", age=age, size=size)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_images_past_their_age_go(tmp_path: Path) -> None:
    old, young = image(tmp_path, 1, age=101), image(tmp_path, 2, age=99)
    assert sweep(tmp_path, max_mb=1, max_age=100, now=NOW) == Swept(1, 1000, 1000)
    assert left(tmp_path) == {young.name}
    assert not old.exists()


def test_the_oldest_go_first_until_the_rest_fits(tmp_path: Path) -> None:
    for request, age in ((1, 10), (2, 40), (3, 20), (4, 30)):
        image(tmp_path, request, age=age, size=2**20)
    sweep(tmp_path, max_mb=2, max_age=1000, now=NOW)
    assert {name[-5] for name in left(tmp_path)} == {"1", "3"}


def test_a_folder_below_its_limits_keeps_everything(tmp_path: Path) -> None:
    image(tmp_path, 1, age=10)
    image(tmp_path, 2, age=-50)
    assert sweep(tmp_path, max_mb=1, max_age=100, now=NOW) == Swept(0, 0, 2000)


def test_a_file_to_be_kept_stays_and_counts(tmp_path: Path) -> None:
    kept, other = image(tmp_path, 1, age=500, size=2**20), image(tmp_path, 2, age=1, size=2**20)
    sweep(tmp_path, max_mb=1, max_age=100, now=NOW, keep=(kept.name,))
    assert left(tmp_path) == {kept.name}
    assert not other.exists()


@pytest.mark.parametrize("extension", ["png", "jpg", "jpeg", "webp", "zip"])
def test_every_kind_of_output_is_swept(tmp_path: Path, extension: str) -> None:
    image(tmp_path, 1, age=500, extension=extension)
    sweep(tmp_path, max_mb=1, max_age=100, now=NOW)
    assert left(tmp_path) == set()


def test_files_of_others_are_never_touched(tmp_path: Path) -> None:
    others = {
        ".gitkeep", "notes.txt", "holiday.png", "Qwen-Image-my-favourite.png", "Qwen-Image-20261120_150405-req1.txt",
        "old-Qwen-Image-20261120_150405-req1.png", ".Qwen-Image-mine.part", ".hidden.part",
    }  # fmt: skip
    for name in others:
        put(tmp_path, name, age=1e6)
    assert sweep(tmp_path, max_mb=0.000_001, max_age=1, now=NOW).deleted == 0
    assert left(tmp_path) == others


def test_folders_and_links_with_our_names_stay_and_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    treasure = image(outside, 1, age=1e6)
    folder = tmp_path / "tmp"
    folder.mkdir()
    (folder / "Qwen-Image-20261120_150405-req1.png").symlink_to(treasure)
    (folder / "Qwen-Image-20261120_150405-req2.png").symlink_to(outside, target_is_directory=True)
    inner = folder / "Qwen-Image-20261120_150405-req3.png"
    inner.mkdir()
    image(inner, 4, age=1e6)
    assert sweep(folder, max_mb=0.000_001, max_age=1, now=NOW).deleted == 0
    assert treasure.exists()
    assert len(left(folder)) == 3
    assert len(left(inner)) == 1


def test_what_a_killed_writer_left_goes_after_an_hour(tmp_path: Path) -> None:
    name = ".Qwen-Image-" + "0" * 31
    put(tmp_path, f"{name}1.part", age=3601)
    put(tmp_path, f"{name}2.part", age=3599)
    sweep(tmp_path, max_mb=1, max_age=1, now=NOW)
    assert left(tmp_path) == {f"{name}2.part"}


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert sweep(tmp_path / "missing", max_mb=1, max_age=1, now=NOW) == Swept()


def test_a_file_that_vanishes_meanwhile_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, old = image(tmp_path, 1, age=500), image(tmp_path, 2, age=500)
    unlink = Path.unlink

    def after_somebody_else(path: Path) -> None:
        if path == gone:
            unlink(path)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", after_somebody_else)
    assert sweep(tmp_path, max_mb=1, max_age=100, now=NOW).deleted == 1
    assert not old.exists()


def test_favourites_have_no_age_and_are_the_last_to_go_for_their_size(tmp_path: Path) -> None:
    favourite, old, young = (
        image(tmp_path, request, age=age, size=2**20) for request, age in ((1, 300), (2, 200), (3, 9))
    )
    sweep(tmp_path, max_mb=9, max_age=100, now=NOW, favourites={favourite.name})
    assert left(tmp_path) == {favourite.name, young.name}
    assert not old.exists()
    sweep(tmp_path, max_mb=1, max_age=100, now=NOW, favourites={favourite.name})
    assert left(tmp_path) == {favourite.name}
    sweep(tmp_path, max_mb=0.5, max_age=100, now=NOW, favourites={favourite.name})
    assert left(tmp_path) == set()
