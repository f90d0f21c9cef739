"""Refuse new requests: no engine expected, no room, or no chance of finishing in time."""

from collections.abc import Callable

from imageserver.dispatch.estimates.queue_wait import WaitEstimate
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.errors import EngineUnavailable, Loading, QueueFull, WouldTimeOut

# So many times what a key leaves free it may hold itself.
KEY_SHARE = 3


def refuse_if_hopeless(seats: SeatList) -> None:
    """Raise EngineUnavailable where no engine is expected soon, Loading where that may take hours."""
    if seats.are_hopeless:
        raise EngineUnavailable(seats.reason, retry_after=seats.retry_after)
    engines = [seat.engine for seat in seats if seat.engine.state != "failed" and not seat.is_waiting_for_machine]
    if engines and all(engine.state == "loading" and engine.phase == "downloading" for engine in engines):
        raise Loading(f"The model is being downloaded: {seats.reason}", retry_after=seats.retry_after)


def refuse_if_full(jobs: int, max_jobs: int, queue_wait: Callable[[], float]) -> None:
    """Raise QueueFull when `max_jobs` jobs run or wait already; `queue_wait` returns the seconds that all take.

    It adds up every job, so it is called only where it is needed.
    """
    if jobs >= max_jobs:
        # A place is free as soon as the next job ends.
        pause = max(1.0, queue_wait() / jobs)
        raise QueueFull(f"The server is full: {max_jobs} generations run or wait (MAX_QUEUE).", retry_after=pause)


def refuse_if_share_taken(own: int, new: int, held: int, limit: int, *, what: str, pause: float) -> None:
    """Raise QueueFull when one key would hold more than KEY_SHARE times what it leaves free of a limit for others.

    It has `own` of the `held` and wants `new` more. Alone it gets three quarters; of several, each gets less, so that
    something is left for one that comes later. A key that has nothing may take the rest. Source: Choudhury and Hahne,
    "Dynamic Queue Length Thresholds", 1998.
    """
    if own and own + new > KEY_SHARE * (limit - held - new):
        sentence = f"Your key has its share of the queue, {what}; the rest is kept for other keys."
        raise QueueFull(sentence, retry_after=max(1.0, pause))


def refuse_if_too_much(source_bytes: int, held_bytes: int, max_bytes: int) -> None:
    """Raise QueueFull when the images of jobs take more than `max_bytes`; one alone may take more."""
    if held_bytes and held_bytes + source_bytes > max_bytes:
        raise QueueFull(
            f"The server is full: the images that generations start from take {held_bytes / 2**20:.0f} MiB of "
            f"{max_bytes / 2**20:g} (MAX_QUEUE_MB).",
            retry_after=1,
        )


def refuse_if_too_late(expected: WaitEstimate, client_timeout: float) -> None:
    """Raise WouldTimeOut when a client that waits `client_timeout` seconds would leave before its images are there."""
    if expected.total > client_timeout:
        raise WouldTimeOut(
            f"The images would be ready in {expected.total:.1f} s ({expected.wait:.1f} s of it in the queue), but "
            f"the client waits {client_timeout:g} s.",
            retry_after=expected.total - client_timeout,
        )
