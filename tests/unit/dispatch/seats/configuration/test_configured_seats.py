"""The settings mean seats: one device, a list, every card, or the first ones of them."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from imageserver.dispatch.seats.configuration.card_count import find_cards
from imageserver.dispatch.seats.configuration.configured_seats import configured_seats
from imageserver.dispatch.seats.configuration.group_size import splits_calls
from imageserver.settings import Settings
from tests.support.full_mode import needs_full_mode
from tests.support.own_loop import run_in_own_loop


async def test_cards_that_cannot_be_counted_for_want_of_memory_are_none(monkeypatch, caplog):
    start = AsyncMock(side_effect=OSError(12, "Cannot allocate memory"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    assert await find_cards("auto") == ()
    assert "Cannot allocate memory" in caplog.text


async def seats(cards=(), splits=True, **changes):
    asked = []

    async def find(kind):
        asked.append(kind)
        return cards

    async def splits_calls(_):
        return splits

    configs = await configured_seats(Settings(_env_file=None, **changes), find, splits_calls)
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


FOUR = "cuda:0+cuda:1+cuda:2+cuda:3"


@pytest.mark.parametrize(
    ("devices", "changes", "expected"),
    [
        (FOUR, {}, ["cuda:0+cuda:1", "cuda:2", "cuda:3"]),
        (f"{FOUR},cuda:4+cuda:5,cuda:6", {}, ["cuda:0+cuda:1", "cuda:2", "cuda:3", "cuda:4+cuda:5", "cuda:6"]),
        (FOUR, {"splits": True}, [FOUR]),
        (FOUR, {"memory": "tensor-parallel"}, [FOUR]),
        ("cpu+cpu+cpu", {}, ["cpu+cpu", "cpu"]),
        ("cuda:0+cuda:1", {}, ["cuda:0+cuda:1"]),
    ],
)
async def test_cards_that_a_family_cannot_use_together_are_engines_of_their_own(devices, changes, expected, caplog):
    found, _ = await seats(**{"splits": False, "devices": devices, "model": "hidream-i1-full", **changes})
    assert [device for _, device in found] == expected
    warned = [record.getMessage() for record in caplog.records]
    assert all("cannot split a call of hidream-i1-full: 2 cards" in each for each in warned)
    assert len(warned) == (expected != devices.split(","))


@pytest.mark.parametrize(("wanted", "expected"), [(1, ["cuda:0+cuda:1"]), (2, ["cuda:0+cuda:1", "cuda:2"])])
async def test_a_group_that_is_taken_apart_is_no_more_engines_than_were_asked_for(wanted, expected, caplog):
    found, _ = await seats(splits=False, devices=FOUR, num_worker_processes=wanted)
    assert [device for _, device in found] == expected
    assert caplog.records[-1].getMessage().endswith("cuda:3 without an engine.")


async def test_a_group_whose_model_cannot_be_asked_about_for_want_of_memory_stays_one_engine(monkeypatch, caplog):
    start = AsyncMock(side_effect=OSError(12, "Cannot allocate memory"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    configs = await configured_seats(Settings(_env_file=None, devices=FOUR), find_cards, splits_calls)
    assert [config.device for config in configs] == [FOUR]
    assert "Cannot allocate memory" in caplog.text


@needs_full_mode
@pytest.mark.parametrize(("model", "splits"), [("qwen-image", True), ("z-image-turbo", False)])
def test_the_engine_is_asked_whether_a_call_can_be_split(model, splits):
    assert run_in_own_loop(splits_calls(Settings(_env_file=None, model=model))) is splits
