"""The cache gives back exactly what was put in, stays below its limit and never fails a request."""

import os
from pathlib import Path

import pytest

from imageserver.generation import Outcome
from imageserver.outputs.cache import Answer, OutputCache, key_of
from tests.support.factories import generation

OUTCOME = Outcome(width=2, height=1, seeds=(1,), inference_time=0.5, queue_time=0.1, batch_size=1, warnings=("w",))


def answer(*files: bytes) -> Answer:
    return Answer(OUTCOME, files)


def test_what_was_put_comes_back_the_same(tmp_path: Path) -> None:
    cache = OutputCache(tmp_path / "cache", max_mb=1)
    cache.put("key", answer(b"one", b"two"))
    assert OutputCache(tmp_path / "cache", max_mb=1).get("key") == answer(b"one", b"two")
    assert cache.get("other") is None


def test_the_key_changes_with_everything_that_changes_the_pixels() -> None:
    keys = {
        key_of(generation(), "revision", "png"),
        key_of(generation(seed=2), "revision", "png"),
        key_of(generation("other"), "revision", "png"),
        key_of(generation(steps=5), "revision", "png"),
        key_of(generation(), "another revision", "png"),
        key_of(generation(), "revision", "jpeg"),
    }
    assert len(keys) == 6
    assert key_of(generation(), "revision", "png") in keys


def test_the_least_recently_used_answers_are_dropped_first(tmp_path: Path) -> None:
    cache = OutputCache(tmp_path, max_mb=3 / 1024)
    for age, key in ((30, "old"), (20, "middle"), (10, "new")):
        cache.put(key, answer(bytes(1000)))
        os.utime(tmp_path / f"{key}.answer", (1e9 - age, 1e9 - age))
    assert cache.get("old") is not None  # used just now
    cache.sweep()
    assert cache.get("middle") is None
    assert cache.get("old") is not None
    assert cache.get("new") is not None


def test_a_damaged_entry_is_a_miss_and_goes_away(tmp_path: Path) -> None:
    cache = OutputCache(tmp_path, max_mb=1)
    (tmp_path / "key.answer").write_bytes(b"rubbish")
    assert cache.get("key") is None
    assert not (tmp_path / "key.answer").exists()


def test_a_disk_that_refuses_costs_the_entry_and_not_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    cache = OutputCache(tmp_path, max_mb=1)
    cache.put("key", answer(b"one"))
    assert cache.get("key") is None
    assert list(tmp_path.iterdir()) == []


def test_no_room_means_no_cache(tmp_path: Path) -> None:
    cache = OutputCache(tmp_path, max_mb=0)
    cache.put("key", answer(b"one"))
    assert cache.get("key") is None
