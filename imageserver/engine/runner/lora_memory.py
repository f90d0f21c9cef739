"""A bound on the memory for LoRA files that are being read; those that find no room wait in the order of arrival."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# As much as the largest that may be computed from one file.
MAX_BYTES = 4 * 1024**3


class LoraMemory:
    """`max_bytes` for the threads of an engine; a file that needs more than that is read alone."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = self._free = max_bytes
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Hold `size` bytes, after waiting for them."""
        size, arrival = min(size, self._max_bytes), object()
        with self._changed:
            self._waiting.append(arrival)
            # Small ones must not keep a large one waiting.
            self._changed.wait_for(lambda: self._waiting[0] is arrival and size <= self._free)
            self._waiting.popleft()
            self._add(-size)
        try:
            yield
        finally:
            with self._changed:
                self._add(size)

    def _add(self, size: int) -> None:
        self._free += size
        self._changed.notify_all()
