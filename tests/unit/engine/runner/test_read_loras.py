"""A LoRA's file is read once, however many ask for it at the same time, and no copy of it stays behind."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.runner import refusals
from imageserver.engine.runner.read_loras import ReadLoras


class SlowFile:
    """A file that is being read until `end` is set."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.reads, self.size = 0, 1
        self.begun, self.end = threading.Event(), threading.Event()
        self.read_loras = ReadLoras(self._read, self.loaded.__contains__)

    def ask(self, digest: str = "red") -> threading.Thread:
        file: Any = SimpleNamespace(digest=digest)
        asking = threading.Thread(target=self.read_loras.add, args=(file,))
        asking.start()
        return asking

    def _read(self, file: Any, reserve: Any) -> Any:
        self.reads += 1
        self.begun.set()
        assert self.end.wait(60)
        return {"transformer": SimpleNamespace(bytes=self.size, number=self.reads)}


@pytest.fixture
def slow() -> SlowFile:
    return SlowFile()


def test_two_that_ask_at_the_same_time_read_it_once_and_leave_no_copy(slow: SlowFile):
    first = slow.ask()
    assert slow.begun.wait(60)
    second = slow.ask()
    slow.end.set()
    for asking in (first, second):
        asking.join(60)
    assert slow.reads == 1
    content = slow.read_loras.get("red")
    assert content is not None
    assert content["transformer"].number == 1
    slow.ask().join(60)
    assert slow.reads == 1, "it waits until it is loaded"
    slow.read_loras.drop("red")
    assert slow.read_loras.get("red") is None


def test_one_that_was_loaded_while_it_was_read_again_is_not_kept(slow: SlowFile):
    late = slow.ask()
    assert slow.begun.wait(60)
    slow.loaded.add("red")
    assert slow.read_loras.get("red") is None
    slow.end.set()
    late.join(60)
    assert slow.read_loras.get("red") is None
    slow.ask().join(60)
    assert slow.reads == 1


def test_two_files_are_read_beside_each_other(slow: SlowFile):
    first = slow.ask("red")
    assert slow.begun.wait(60)
    slow.begun.clear()
    second = slow.ask("blue")
    assert slow.begun.wait(60), "the second one waits for the first"
    slow.end.set()
    for asking in (first, second):
        asking.join(60)
    assert slow.read_loras.get("red") is not slow.read_loras.get("blue") is not None


def test_none_is_dropped_for_others_and_what_cannot_be_taken_is_dropped_by_its_name(slow: SlowFile):
    slow.end.set()
    slow.size = 4 * 1024**3
    names = [str(number) for number in range(8)]
    for name in names:
        slow.ask(name).join(60)
    slow.read_loras.drop("0")
    slow.read_loras.drop("a name that nobody has read")
    assert [slow.read_loras.get(name) is None for name in names] == [True] + 7 * [False]


def test_what_may_pass_is_tried_again_and_a_refused_content_is_not():
    failures: list[Exception] = [OSError("the volume is not mounted"), LoraRefused("is damaged")]

    def read(file: Any, reserve: Any) -> Any:
        raise failures.pop(0)

    file: Any = SimpleNamespace(digest="red")
    failing = ReadLoras(read, lambda digest: False)
    with pytest.raises(OSError, match="not mounted"):
        failing.add(file)
    assert failing.get("red") is None
    for ask in (lambda: failing.add(file), lambda: failing.add(file), lambda: failing.get("red")):
        with pytest.raises(LoraRefused, match=r"^is damaged$"):
            ask()
    assert failures == []


def test_sentences_about_refused_files_make_room_for_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refusals, "MAX_REFUSED", 2)
    reads: list[str] = []

    def read(file: Any, reserve: Any) -> Any:
        reads.append(file.digest)
        raise LoraRefused("is damaged")

    refusing = ReadLoras(read, lambda digest: False)
    for digest in ("red", "green", "blue", "blue", "red"):
        file: Any = SimpleNamespace(digest=digest)
        with pytest.raises(LoraRefused):
            refusing.add(file)
    assert reads == ["red", "green", "blue", "red"]
