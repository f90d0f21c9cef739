"""What did not fit is not tried again at once, at no size, and is tried again later."""

from imageserver.engine.batching.memory_limit import PROBE_AGAIN_SECONDS, MemoryLimit


def test_a_forward_that_failed_limits_forwards_of_every_size() -> None:
    limit = MemoryLimit()
    assert limit.calls(4096, 16) == 16
    limit.observe_failure(4 * 4096)
    assert [limit.calls(tokens, 16) for tokens in (8192, 4096, 1024, 256)] == [1, 3, 15, 16]


def test_what_is_larger_than_the_limit_is_still_tried_alone() -> None:
    limit = MemoryLimit()
    limit.observe_failure(2000)
    assert limit.calls(4096, 8) == 1


def test_later_a_larger_forward_is_tried_again() -> None:
    now = 0.0
    limit = MemoryLimit(lambda: now)
    limit.observe_failure(2000)
    now = PROBE_AGAIN_SECONDS - 1
    assert limit.calls(1000, 8) == 1
    now = PROBE_AGAIN_SECONDS
    assert limit.calls(1000, 8) == 8
