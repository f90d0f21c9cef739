"""A folder of images in a filesystem of fsspec."""

import errno
import os
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from imageserver.errors import NotFound
from imageserver.outputs.naming import file_stem
from imageserver.outputs.object_store import bucket as module
from imageserver.outputs.object_store.bucket import Away, Bucket
from tests.support.flaky_filesystem import FlakyFileSystem

STEM = "Qwen-Image-20261120_150405-req5"


@pytest.fixture
def bucket():
    FlakyFileSystem.reset()
    return Bucket("flaky://bucket/images")


def names():
    return sorted(path.rpartition("/")[2] for path in FlakyFileSystem.store)


def test_a_taken_name_is_never_overwritten(bucket):
    assert [bucket.save(data, stem=STEM, extension="png") for data in (b"first", b"second", b"third")] == [
        f"{STEM}.png", f"{STEM}-2.png", f"{STEM}-3.png",
    ]  # fmt: skip
    assert bucket.read(f"{STEM}.png") == b"first"
    assert bucket.read(f"{STEM}-3.png") == b"third"


def test_a_refusal_means_a_taken_name_only_where_it_is_taken(bucket):
    bucket.create(f"{STEM}.png", b"first")
    FlakyFileSystem.error = OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold")
    FlakyFileSystem.fails = ("pipe_file",)
    assert not bucket.create(f"{STEM}.png", b"second")
    with pytest.raises(Away):
        bucket.create(f"{STEM}-2.png", b"second")


def test_a_file_in_the_way_of_the_folder_is_not_a_taken_name(tmp_path):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(Away, match="cannot be reached"):
        Bucket(f"local://{tmp_path}/images").save(b"image", stem=STEM, extension="png")


def test_a_large_image_is_read_in_parts(bucket, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 4)
    name = bucket.save(b"0123456789", stem=STEM, extension="png")
    assert bucket.size(name) == 10
    assert [bucket.read(name, start) for start in (0, 4, 8)] == [b"0123", b"4567", b"89"]


@pytest.mark.parametrize("name", ["missing.png", "../secret.png", ".qwen-image-server", "a/b.png", "notes.txt", ""])
def test_no_name_reaches_anything_but_an_image(bucket, name):
    bucket.require()
    FlakyFileSystem.store["/bucket/secret.png"] = FlakyFileSystem.store["/bucket/images/.qwen-image-server"]
    with pytest.raises(NotFound):
        bucket.size(name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("The specified bucket does not exist"), "the bucket or folder does not exist"),
        (PermissionError("Access Denied for key AKIA123"), "it refuses access"),
        (TimeoutError(), "it does not answer"),
        (RuntimeError("Could not connect to http://10.0.0.5:9000"), "it cannot be reached"),
    ],
)
def test_a_reason_says_nothing_that_strangers_may_not_know(bucket, error, reason):
    FlakyFileSystem.error = error
    with pytest.raises(Away, match=f"^{reason}$"):
        bucket.save(b"image", stem=STEM, extension="png")


def test_old_images_and_the_oldest_above_the_limit_are_deleted_and_nothing_else(bucket):
    now = time.time()
    moments = [now - age for age in (5000, 30, 20, 10)]
    for number, moment in enumerate(moments):
        stem = file_stem(datetime.fromtimestamp(moment).astimezone(), number)
        bucket.save(bytes(2**19), stem=stem, extension="png")
    bucket.require()
    FlakyFileSystem.store["/bucket/images/holiday.png"] = FlakyFileSystem.store["/bucket/images/.qwen-image-server"]
    assert bucket.sweep(max_mb=1, max_age=3600, now=now) == 2
    assert [name.rpartition("-")[2] for name in names()] == ["server", "req2.png", "req3.png", "holiday.png"]


@pytest.mark.parametrize("said", ["mtime", "LastModified"])
def test_the_time_of_the_store_counts_where_it_says_one(bucket, monkeypatch, said):
    now = time.time()
    ls = FlakyFileSystem.ls

    def with_times(self, *args, **options):
        ages = {"req1.png": 5000, "req2.png": 10}
        moments = {name: now - age for name, age in ages.items()}
        for entry in ls(self, *args, **options):
            moment = moments[entry["name"].rpartition("-")[2]]
            yield entry | {said: moment if said == "mtime" else datetime.fromtimestamp(moment, UTC)}

    monkeypatch.setattr(FlakyFileSystem, "ls", with_times)
    # As named by a machine ahead of this one, and by one behind it.
    for stem in ("Qwen-Image-20991120_150405-req1", "Qwen-Image-20000101_000000-req2"):
        bucket.save(b"image", stem=stem, extension="png")
    assert bucket.sweep(max_mb=1, max_age=3600, now=now) == 1
    assert names() == ["Qwen-Image-20000101_000000-req2.png"]


def test_the_time_of_a_folder_of_this_machine_counts(tmp_path):
    bucket = Bucket(f"local://{tmp_path}")
    for number in (1, 2):
        bucket.save(b"image", stem=f"Qwen-Image-20991120_150405-req{number}", extension="png")
    os.utime(tmp_path / "Qwen-Image-20991120_150405-req1.png", (1, 1))
    assert bucket.sweep(max_mb=1, max_age=3600, now=time.time()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["Qwen-Image-20991120_150405-req2.png"]


def test_an_image_that_another_server_deletes_first_ends_no_sweep(bucket, monkeypatch):
    for number in (1, 2):
        bucket.save(b"image", stem=f"Qwen-Image-20000101_000000-req{number}", extension="png")
    rm_file = FlakyFileSystem.rm_file

    def late(self, path):
        if path.endswith("req1.png"):
            rm_file(self, path)
        rm_file(self, path)

    monkeypatch.setattr(FlakyFileSystem, "rm_file", late)
    assert bucket.sweep(max_mb=1, max_age=3600, now=time.time()) == 1
    assert names() == []


def test_an_image_that_waited_has_more_time_the_larger_it_is(bucket):
    limits = []
    filesystem = SimpleNamespace(
        async_impl=True,
        invalidate_cache=lambda: None,
        pipe_file=lambda path, data, mode, timeout: limits.append(timeout),
    )
    bucket._opened = filesystem, "/bucket"
    bucket.create(f"{STEM}.png", bytes(2**22))
    for size in (2**10, 2**22):
        bucket.create_again(f"{STEM}.png", bytes(size))
    assert limits[0] == module.OPERATION_SECONDS
    assert limits[0] < limits[1] < limits[2]


def test_a_folder_that_is_not_there_yet_has_nothing_to_delete():
    FlakyFileSystem.reset()
    FlakyFileSystem.error = FileNotFoundError()
    assert Bucket("flaky://bucket/images").sweep(max_mb=1, max_age=1, now=0) == 0


def test_a_filesystem_that_signs_nothing_has_no_address(bucket):
    assert bucket.address(bucket.save(b"image", stem=STEM, extension="png")) == ""


def test_an_image_is_deleted_and_one_that_is_not_there_is_no_error(bucket):
    name = bucket.save(b"image", stem=STEM, extension="png")
    for each in (name, name, "../other.png"):
        bucket.delete(each)
    assert names() == []
