"""No saved image is lost while its store is away."""

import threading
from pathlib import Path

import pytest

from imageserver.errors import NotFound, StorageUnavailable
from imageserver.outputs.object_store import bucket as bucket_module
from imageserver.outputs.object_store import keeper as module
from imageserver.outputs.object_store.bucket import Bucket
from imageserver.outputs.object_store.keeper import Keeper
from tests.support.flaky_filesystem import FlakyFileSystem

STEM = "Qwen-Image-20991120_150405-req"
AWAY = ConnectionError("no route to host")


@pytest.fixture
def open_keeper(tmp_path):
    """Return a function for what a worker's store process holds; all share a folder."""
    FlakyFileSystem.reset()

    def opened(**options):
        limits = {"unsent_mb": 1, "max_mb": 100, "max_age": 3600}
        return Keeper(Bucket("flaky://bucket/images"), tmp_path / "unsent", **limits | options)

    return opened


def save(keeper, data=b"image", number=1):
    return keeper.save(data, stem=f"{STEM}{number}", extension="png")


def stored():
    return {path.rpartition("/")[2]: file.getvalue() for path, file in FlakyFileSystem.store.items()}


def waiting(tmp_path):
    folder = tmp_path / "unsent" / "images"
    return sorted(file.name for file in folder.glob("*")) if folder.exists() else []


def test_an_image_is_in_the_store_when_it_is_saved_and_nowhere_else(open_keeper, tmp_path):
    keeper = open_keeper()
    name = save(keeper)
    assert stored() == {name: b"image"}
    assert waiting(tmp_path) == []
    assert keeper.read(name, 0)[1] == b"image"
    assert keeper.obstacle == ""


def test_images_wait_while_the_store_is_away_and_are_sent_when_it_is_back(open_keeper, tmp_path):
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    names = [save(keeper, b"first", 1), save(keeper, b"second", 2)]
    assert waiting(tmp_path) == names
    assert keeper.obstacle == (
        "The store of OUTPUT_URL cannot be used: it cannot be reached. Saved images that wait for it: 2."
    )
    assert keeper.read(names[1], 0)[1] == b"second"
    keeper.maintain()
    assert waiting(tmp_path) == names
    FlakyFileSystem.error = None
    keeper.maintain()
    assert stored() == {names[0]: b"first", names[1]: b"second"}
    assert waiting(tmp_path) == []
    assert keeper.obstacle == ""


def test_a_store_that_is_known_to_be_away_is_not_tried_by_every_request_of_any_worker(open_keeper):
    FlakyFileSystem.error = AWAY
    save(open_keeper())
    FlakyFileSystem.calls.clear()
    other = open_keeper()
    save(other, number=2)
    assert FlakyFileSystem.calls == []
    assert other.obstacle


def test_images_that_waited_are_sent_after_a_restart(open_keeper):
    FlakyFileSystem.error = AWAY
    name = save(open_keeper())
    FlakyFileSystem.error = None
    open_keeper().maintain()
    assert stored() == {name: b"image"}


def test_one_that_the_store_took_without_an_answer_is_not_saved_twice(open_keeper, tmp_path):
    keeper = open_keeper()
    FlakyFileSystem.error, FlakyFileSystem.does_it_first = TimeoutError(), True
    name = save(keeper)
    FlakyFileSystem.error = None
    keeper.maintain()
    assert stored() == {name: b"image"}
    assert waiting(tmp_path) == []


def test_one_whose_name_another_server_took_meanwhile_stays_and_holds_up_no_other(open_keeper, tmp_path):
    keeper, other = open_keeper(), Bucket("flaky://bucket/images")
    FlakyFileSystem.error = AWAY
    names = [save(keeper, b"ours", 1), save(keeper, b"next", 2)]
    FlakyFileSystem.error = None
    other.create(names[0], b"theirs")
    keeper.maintain()
    assert stored() == {names[0]: b"theirs", names[1]: b"next"}
    assert waiting(tmp_path) == names[:1]
    assert keeper.read(names[0], 0)[1] == b"ours"
    assert keeper.obstacle == ""


@pytest.mark.parametrize("arrived", [b"", b"01", b"01234567"])
def test_an_upload_that_broke_off_in_the_store_is_completed(open_keeper, tmp_path, monkeypatch, arrived):
    for each in (module, bucket_module):
        monkeypatch.setattr(each, "PART_BYTES", 4)
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    name = save(keeper, b"0123456789")
    FlakyFileSystem.error = None
    Bucket("flaky://bucket/images").create(name, arrived)
    keeper.maintain()
    assert stored() == {name: b"0123456789"}
    assert waiting(tmp_path) == []


@pytest.mark.parametrize("theirs", [b"012345678X", b"0123X", b"0123456789X"])
def test_another_image_that_begins_the_same_is_neither_overwritten_nor_taken_for_ours(
    open_keeper, tmp_path, monkeypatch, theirs
):
    for each in (module, bucket_module):
        monkeypatch.setattr(each, "PART_BYTES", 4)
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    name = save(keeper, b"0123456789")
    FlakyFileSystem.error = None
    Bucket("flaky://bucket/images").create(name, theirs)
    keeper.maintain()
    assert stored() == {name: theirs}
    assert waiting(tmp_path) == [name]


def test_an_image_is_saved_while_another_process_sends_those_that_wait(open_keeper, monkeypatch):
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    save(keeper)
    stat = Path.stat

    def vanishes(path, **options):
        if path.name == f"{STEM}1.png":
            path.unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishes)
    assert save(keeper, number=2) == f"{STEM}2.png"


def test_an_image_that_cannot_be_uploaded_holds_up_no_other(open_keeper, tmp_path, monkeypatch):
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    names = [save(keeper, number=number) for number in (1, 2, 3)]
    FlakyFileSystem.error = None
    pipe_file = FlakyFileSystem.pipe_file

    def too_slow(self, path, *args, **options):
        if path.endswith(names[0]):
            raise TimeoutError
        return pipe_file(self, path, *args, **options)

    monkeypatch.setattr(FlakyFileSystem, "pipe_file", too_slow)
    for _ in range(2):
        keeper.maintain()
    assert sorted(stored()) == names[1:]
    assert waiting(tmp_path) == names[:1]


def test_a_name_that_is_taken_and_then_missing_is_tried_again(open_keeper, tmp_path, monkeypatch):
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    name = save(keeper)
    FlakyFileSystem.error = None
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "create", lambda *args: False)
        keeper.maintain()
    assert waiting(tmp_path) == [name]
    keeper.maintain()
    assert stored() == {name: b"image"}


def test_images_that_wait_are_sent_while_a_large_folder_is_listed(open_keeper, tmp_path, monkeypatch):
    is_listing, may_end = threading.Event(), threading.Event()

    def ls(self, *args, **options):
        is_listing.set()
        may_end.wait(10)
        return []

    monkeypatch.setattr(FlakyFileSystem, "ls", ls)
    sweeping = threading.Thread(target=open_keeper().sweep)
    sweeping.start()
    try:
        assert is_listing.wait(10)
        FlakyFileSystem.error = AWAY
        name = save(open_keeper())
        FlakyFileSystem.error = None
        open_keeper().maintain()
        assert stored() == {name: b"image"}
    finally:
        may_end.set()
        sweeping.join()


def test_above_its_limit_an_image_is_refused_and_none_that_waits_is_deleted(open_keeper, tmp_path):
    keeper = open_keeper()
    FlakyFileSystem.error = AWAY
    first = save(keeper, bytes(2**19), 1)
    with pytest.raises(StorageUnavailable, match="generated but could not be saved") as caught:
        save(keeper, bytes(2**20), 2)
    assert caught.value.status == 503
    assert caught.value.retry_after
    assert waiting(tmp_path) == [first]


def test_the_state_says_that_the_bucket_is_missing_before_anybody_saves(open_keeper):
    keeper = open_keeper()
    FlakyFileSystem.error = FileNotFoundError("NoSuchBucket")
    keeper.maintain()
    assert "the bucket or folder does not exist" in keeper.obstacle
    FlakyFileSystem.error = None
    keeper.maintain()
    assert keeper.obstacle == ""


def test_an_image_of_a_store_that_is_away_cannot_be_read_yet_and_an_unknown_one_not_at_all(open_keeper):
    keeper = open_keeper()
    name = save(keeper)
    FlakyFileSystem.error = AWAY
    with pytest.raises(StorageUnavailable, match="cannot be read at present: it cannot be reached"):
        keeper.read(name, 0)
    FlakyFileSystem.error = None
    with pytest.raises(NotFound):
        keeper.read("missing.png", 0)


def test_the_store_is_listed_once_in_ten_minutes_whatever_the_number_of_workers(open_keeper, monkeypatch):
    for keeper in (open_keeper(), open_keeper()):
        keeper.sweep()
    assert FlakyFileSystem.calls.count("ls") == 1
    monkeypatch.setattr(module, "SWEEP_INTERVAL_SECONDS", 0.0)
    open_keeper().sweep()
    assert FlakyFileSystem.calls.count("ls") == 2


def test_a_store_that_signs_addresses_hands_images_out_itself(open_keeper, monkeypatch):
    monkeypatch.setattr(FlakyFileSystem, "sign", lambda self, path, expiration: f"https://store{path}?t={expiration}")
    keeper = open_keeper(redirects=True)
    part, data = keeper.read(save(keeper), 0, address_will_do=True)
    assert part.address == f"https://store/bucket/images/{STEM}1.png?t=60"
    assert data == b""
    assert keeper.read(f"{STEM}1.png", 0)[1] == b"image"


def test_an_image_is_deleted_wherever_it_is_but_not_while_the_store_is_away(open_keeper, tmp_path):
    keeper = open_keeper()
    sent = save(keeper)
    FlakyFileSystem.error = AWAY
    waits = save(keeper, number=2)
    with pytest.raises(StorageUnavailable, match="cannot be deleted"):
        keeper.delete(sent)
    with pytest.raises(StorageUnavailable):
        keeper.delete(waits)
    assert waiting(tmp_path) == []
    FlakyFileSystem.error = None
    keeper.delete(sent)
    assert sent not in stored()
