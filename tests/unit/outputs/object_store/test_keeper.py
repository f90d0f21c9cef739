"""No saved image is lost while its store is away."""

import pytest

from imageserver.errors import NotFound, StorageUnavailable
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
        keeper.maintain()
    assert FlakyFileSystem.calls.count("ls") == 1
    monkeypatch.setattr(module, "SWEEP_INTERVAL_SECONDS", 0.0)
    open_keeper().maintain()
    assert FlakyFileSystem.calls.count("ls") == 2


def test_a_store_that_signs_addresses_hands_images_out_itself(open_keeper, monkeypatch):
    monkeypatch.setattr(FlakyFileSystem, "sign", lambda self, path, expiration: f"https://store{path}?t={expiration}")
    keeper = open_keeper(redirects=True)
    part, data = keeper.read(save(keeper), 0, address_will_do=True)
    assert part.address == f"https://store/bucket/images/{STEM}1.png?t=60"
    assert data == b""
    assert keeper.read(f"{STEM}1.png", 0)[1] == b"image"
