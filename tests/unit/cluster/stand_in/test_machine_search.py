"""A stand-in looks for the first machine that can be used; the others are kept meanwhile and then let go."""

import asyncio
import logging

import pytest

from imageserver.cluster.stand_in import machine_search
from imageserver.cluster.stand_in.far_seat import FarMachine, SeatLost
from imageserver.cluster.stand_in.machine_search import MachineSearch
from imageserver.cluster.versions import versions
from imageserver.protocol.messages import REFUSED
from imageserver.settings import Settings

FIRST, SECOND = "10.0.0.7", "10.0.0.8"


class OfferedSeat:
    """A seat on a machine, which is kept until the machine is `gone` or nobody wants it any more."""

    def __init__(self, address, *, gone=False, **changed):
        self.machine = FarMachine(address, "cuda:0", versions() | changed)
        self.gone = gone
        self.is_kept = False

    async def describe(self):
        await asyncio.sleep(0)
        return self.machine

    async def keep(self):
        if self.gone:
            raise SeatLost("It is gone.")
        self.is_kept = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_kept = False


class Search:
    """A search among these seats, one after the other, and what it said."""

    def __init__(self, monkeypatch, *seats, avoided="", wanted="requested", there=()):
        self.reports, self.phases = [], []
        self.offers = 0
        self.seats = list(seats)
        monkeypatch.setenv("CLUSTER_AVOIDED", avoided)
        monkeypatch.setenv("CLUSTER_SEAT", wanted)
        monkeypatch.setattr(machine_search, "FarSeat", lambda lease: self.seats.pop(0))
        monkeypatch.setattr(machine_search, "next_lease", lambda folder: 1)
        monkeypatch.setattr(machine_search, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(machine_search, "addresses", lambda: set(there))
        monkeypatch.setattr(machine_search, "is_offered", self.is_offered)

    def is_offered(self):
        """Say that an engine is offered once that was asked for the third time."""
        self.offers += 1
        return self.offers % 3 == 0

    def report(self, phase, sentence):
        self.phases.append(phase)
        self.reports.append(sentence)

    async def find(self):
        found, machine = await MachineSearch(Settings(_env_file=None), self).find()
        assert found.machine is machine
        await asyncio.sleep(0)
        return found


@pytest.mark.parametrize("package", ["python", "diffusers"])
def test_a_machine_with_other_software_is_refused_with_one_sentence_and_another_one_used(package, monkeypatch, caplog):
    search = Search(monkeypatch, OfferedSeat(FIRST, **{package: "0.1"}), good := OfferedSeat(SECOND))
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(search.find()) is good
    [_, sentence] = search.reports
    assert sentence.startswith(f"The machine {FIRST} has {package} 0.1, this one ")
    assert sentence in caplog.text


def test_a_machine_that_was_refused_starts_no_further_ones(monkeypatch):
    search = Search(monkeypatch, OfferedSeat(FIRST, python="0.1"), OfferedSeat(SECOND))
    asyncio.run(search.find())
    assert search.offers == 3, "the second one is used because it is offered"
    assert search.phases == ["waiting", REFUSED]


def test_a_refused_machine_that_was_there_before_keeps_no_other_from_being_asked_for(monkeypatch):
    search = Search(monkeypatch, OfferedSeat(FIRST, python="0.1"), good := OfferedSeat(SECOND), there=[FIRST])
    assert asyncio.run(search.find()) is good
    assert search.offers == 0
    assert search.phases == ["waiting", "waiting"], "another one is on its way"


def test_another_machine_is_asked_for_when_the_one_that_came_in_vain_is_gone(monkeypatch):
    search = Search(monkeypatch, OfferedSeat(FIRST, python="0.1", gone=True), good := OfferedSeat(SECOND))
    assert asyncio.run(search.find()) is good
    assert search.offers == 1, "the first one is kept until the search looks again"
    assert search.phases == ["waiting", REFUSED, "waiting"]
    assert search.reports[0] == search.reports[2]


def test_a_refused_machine_that_nobody_was_asked_for_leaves_those_waiting_who_wait_for_an_offer(monkeypatch):
    search = Search(monkeypatch, OfferedSeat(FIRST, python="0.1"), OfferedSeat(SECOND), wanted="offered")
    asyncio.run(search.find())
    assert search.phases == ["waiting", "waiting"]


@pytest.mark.parametrize("refused", [{"python": "0.1"}, {}], ids=["other software", "failed"])
def test_a_machine_that_cannot_be_used_is_kept_until_another_one_is_found_and_no_longer(refused, monkeypatch):
    first, second = OfferedSeat(FIRST, **refused), OfferedSeat(SECOND)
    kept = []
    search = Search(monkeypatch, first, second, avoided=f"{FIRST} cuda:0", wanted="offered")

    async def describe():
        await asyncio.sleep(0)
        kept.append(first.is_kept)
        return second.machine

    second.describe = describe

    async def body():
        assert await search.find() is second
        kept.append(first.is_kept)

    asyncio.run(body())
    assert kept == [True, False], "else it would never be tried again while this engine lives"


def test_a_machine_whose_engine_failed_is_used_once_it_was_away_and_is_back(monkeypatch):
    failed, back = OfferedSeat(FIRST, gone=True), OfferedSeat(FIRST)
    search = Search(monkeypatch, failed, back, avoided=f"{FIRST} cuda:0")
    assert asyncio.run(search.find()) is back
    assert search.reports[1:] == [f"The engine on {FIRST} cuda:0 has failed; another machine is awaited."]
