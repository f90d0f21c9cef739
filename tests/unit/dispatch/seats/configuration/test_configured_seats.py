"""The settings mean seats: one device, a list, every card, or the first ones of them."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from imageserver.dispatch.seats.configuration.card_count import find_cards
from imageserver.dispatch.seats.configuration.configured_seats import configured_seats
from imageserver.settings import Settings


async def test_cards_that_cannot_be_counted_for_want_of_memory_are_none(monkeypatch, caplog):
    start = AsyncMock(side_effect=OSError(12, "Cannot allocate memory"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    assert await find_cards("auto") == ()
    assert "Cannot allocate memory" in caplog.text


async def seats(cards=(), **changes):
    asked = []

    async def find(kind):
        asked.append(kind)
        return cards

    configs = await configured_seats(Settings(_env_file=None, **changes), find)
    return [(config.name, config.device) for config in configs], asked


@pytest.mark.parametrize(
    ("changes", "cards", "names", "kinds"),
    [
        ({}, (), ["auto"], []),
        ({"device": "cuda:1"}, (), ["cuda:1"], []),
        ({"devices": "cuda:0+cuda:1,cuda:2"}, (), ["cuda:0+cuda:1", "cuda:2"], []),
        ({"devices": "auto"}, ("cuda:0", "cuda:1"), ["cuda:0", "cuda:1"], ["auto"]),
        ({"devices": "auto"}, (), ["auto"], ["auto"]),
        ({"devices": "auto", "num_worker_processes": 1}, ("cuda:0", "cuda:1"), ["cuda:0"], ["auto"]),
        ({"devices": "cuda:1,cuda:3,cuda:5", "num_worker_processes": 2}, (), ["cuda:1", "cuda:3"], []),
        ({"device": "cuda", "num_worker_processes": 2}, ("cuda:0", "cuda:1", "cuda:2"), ["cuda:0", "cuda:1"], ["cuda"]),
        ({"num_worker_processes": 1}, (), ["auto"], []),
    ],
)
async def test_each_setting_means_its_seats(changes, cards, names, kinds):
    found, asked = await seats(cards, **changes)
    assert [device for _, device in found] == names
    assert asked == kinds


async def test_seats_on_one_device_have_names_of_their_own():
    assert (await seats(devices="cpu,cuda:0,cpu"))[0] == [("cpu#1", "cpu"), ("cuda:0", "cuda:0"), ("cpu#2", "cpu")]


async def test_more_processes_than_cards_is_a_warning(caplog):
    found, _ = await seats(("cuda:0",), num_worker_processes=4)
    assert found == [("cuda:0", "cuda:0")]
    assert [record.getMessage() for record in caplog.records] == [
        "NUM_WORKER_PROCESSES=4 is more than there are: cuda:0."
    ]
