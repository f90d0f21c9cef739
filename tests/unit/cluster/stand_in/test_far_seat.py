"""However long calls and answers travel, the near side gives its lease up before the far side ends the engine."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest

from imageserver.cluster.host.engine_host import LEASE_SECONDS
from imageserver.cluster.parcels import Item, write_parcel
from imageserver.cluster.stand_in import far_seat
from imageserver.cluster.stand_in.far_seat import BEAT_SECONDS, FarSeat, SeatLost
from tests.support.dispatch_harness import VirtualTimeLoop

NEVER = 1e6


class SlowWay:
    """The way to a far actor: each beat travels for so many seconds, and then its answer."""

    def __init__(self, travels):
        self.travels = iter(travels)
        self.came = []

    async def remote(self, lease):
        there, back = next(self.travels)
        await asyncio.sleep(there)
        self.came.append(asyncio.get_running_loop().time())
        await asyncio.sleep(back)

    def far_end(self):
        """Return when the far side ends the engine."""
        ends = (
            moment + LEASE_SECONDS
            for moment, later in itertools.pairwise([*self.came, NEVER])
            if later - moment > LEASE_SECONDS
        )
        return next(ends)


@pytest.fixture
def keep(monkeypatch):
    """Keep a lease over a way for so many seconds at most; return when it was given up, or NEVER."""

    def run(way, seconds):
        host = SimpleNamespace(beat=way)
        monkeypatch.setattr(
            far_seat.ray, "remote", lambda **_: lambda actor: SimpleNamespace(remote=lambda lease: host)
        )

        async def body():
            try:
                async with asyncio.timeout(seconds):
                    await FarSeat(1).keep()
            except SeatLost:
                return asyncio.get_running_loop().time()
            except TimeoutError:
                return NEVER

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(body())

    return run


def test_slow_answers_delay_no_beat(keep):
    way = SlowWay(itertools.cycle([(0.0, 3.9), (0.9, 0.0)]))
    assert keep(way, 60) == NEVER
    assert way.far_end() > max(way.came)
    assert max(later - earlier for earlier, later in itertools.pairwise(way.came)) <= 2 * BEAT_SECONDS


@pytest.mark.parametrize("good", range(4))
@pytest.mark.parametrize("broken", [(NEVER, NEVER), (0.1, NEVER), (4.5, 0.5)], ids=["calls", "answers", "both slow"])
def test_a_lease_is_given_up_before_the_far_side_ends_the_engine(keep, good, broken):
    way = SlowWay(itertools.chain([(0.1, 0.1)] * (good + 1), itertools.repeat(broken)))
    given_up = keep(way, 60)
    assert given_up <= way.far_end()
    assert given_up - 1000.0 <= good + 6


def test_late_words_under_the_lease_of_a_seat_that_was_given_up_are_dropped(monkeypatch):
    given_up, held = 6, 7

    async def sent():
        for lease, word in ((given_up, b"late"), (held, b"in time"), (given_up, b"later"), (held, b"last")):
            reference = asyncio.get_running_loop().create_future()
            reference.set_result(write_parcel(lease, [Item("frame", word)]))
            yield reference

    host = SimpleNamespace(parcels=SimpleNamespace(options=lambda **_: SimpleNamespace(remote=sent)))
    monkeypatch.setattr(far_seat.ray, "remote", lambda **_: lambda actor: SimpleNamespace(remote=lambda lease: host))

    async def heard():
        return [bytes(item.content) async for item in FarSeat(held).items()]

    assert asyncio.run(heard()) == [b"in time", b"last"]
