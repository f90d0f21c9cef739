"""Let other clients in during long work on a greenlet."""

from typing import AnyStr

import gevent

# Not 0: then gevent runs other greenlets, but looks at no socket for up to 0.1 s.
YIELD_SECONDS = 1e-5
# A short request needs the loop this often: for its connection, its bytes, its answer and its end.
PASSES = 4
# What is counted between two pauses, which takes 2 ms.
COUNTED_BYTES = 2**22


def yield_to_others() -> None:
    """Let the loop serve whoever is ready."""
    gevent.sleep(YIELD_SECONDS)


def serve_others() -> None:
    """Let the loop serve short requests to their ends, after or before work of 5 ms and more.

    One that got a single pass between two such pieces of work waited for two or three of them.
    """
    for _ in range(PASSES):
        yield_to_others()


def count_with_pauses(data: AnyStr, part: AnyStr) -> int:
    """Return how often a text of one letter occurs, which takes 10 ms in 32 MiB and longer where it is rare."""
    count = 0
    for start in range(0, len(data), COUNTED_BYTES):
        if len(data) > COUNTED_BYTES:
            yield_to_others()
        count += data.count(part, start, start + COUNTED_BYTES)
    return count
