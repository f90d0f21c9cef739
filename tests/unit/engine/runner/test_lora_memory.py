"""Files that are read at the same time take no more memory than the bound, and none waits for ever."""

import threading
import time
from collections.abc import Callable

import pytest

from imageserver.engine.runner.lora_memory import LoraMemory


class Readers:
    """Threads that hold memory until they are told to end."""

    def __init__(self) -> None:
        self.memory = LoraMemory(10)
        self.holding: list[int] = []
        self._ends: dict[int, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def start(self, size: int) -> None:
        """Start one that needs `size` bytes; it has come to the memory when this returns."""
        self._ends[size] = threading.Event()
        held, thread = len(self.holding), threading.Thread(target=self._hold, args=(size,))
        self._threads.append(thread)
        before = self._waiting()
        thread.start()
        until(lambda: len(self.holding) > held or self._waiting() > before)

    def end(self, *sizes: int) -> None:
        for size in sizes:
            self._ends[size].set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _waiting(self) -> int:
        # Whoever need not wait is among them for a moment, which nobody else sees.
        with self.memory._changed:
            return len(self.memory._waiting)

    def _hold(self, size: int) -> None:
        with self.memory.reserve(size):
            self.holding.append(size)
            assert self._ends[size].wait(60)
            self.holding.remove(size)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def readers() -> Readers:
    return Readers()


def test_what_fits_together_is_read_at_once_and_a_small_one_passes_no_large_one(readers: Readers) -> None:
    for size in (6, 4, 7, 1):
        readers.start(size)
    assert sorted(readers.holding) == [4, 6]
    readers.end(4)
    until(lambda: readers.holding == [6])
    readers.start(2)
    assert readers.holding == [6]
    readers.end(6)
    until(lambda: sorted(readers.holding) == [1, 2, 7])
    readers.end(7, 1, 2)
    readers.join()


def test_one_that_is_larger_than_the_bound_is_read_alone(readers: Readers) -> None:
    readers.start(2)
    readers.start(25)
    assert readers.holding == [2]
    readers.end(2)
    until(lambda: readers.holding == [25])
    readers.start(3)
    assert readers.holding == [25]
    readers.end(25, 3)
    readers.join()


def test_a_failed_one_gives_its_memory_back() -> None:
    memory = LoraMemory(10)
    with pytest.raises(OSError, match="gone"), memory.reserve(10):
        raise OSError("the volume is gone")
    with memory.reserve(10):
        pass
