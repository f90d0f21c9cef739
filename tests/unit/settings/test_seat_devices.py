"""DEVICES is a list of seats, and what cannot be meant is refused with one sentence."""

import pytest

from imageserver.settings import Settings
from imageserver.settings.contradictions import contradiction_in
from imageserver.settings.seat_devices import checked_devices, parse_seats


@pytest.mark.parametrize(
    ("text", "seats"),
    [
        ("cpu", [("cpu",)]),
        ("cpu,cpu", [("cpu",), ("cpu",)]),
        ("cuda:0, cuda:1", [("cuda:0",), ("cuda:1",)]),
        ("cuda,cuda:01", [("cuda:0",), ("cuda:1",)]),
        ("cuda:0+cuda:1,cuda:2", [("cuda:0", "cuda:1"), ("cuda:2",)]),
        ("cpu+cpu", [("cpu", "cpu")]),
        ("npu:0,xpu:0,mps", [("npu:0",), ("xpu:0",), ("mps",)]),
    ],
)
def test_every_entry_is_a_seat_with_its_devices(text, seats):
    assert parse_seats(text) == tuple(seats)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gpu:0", "'gpu:0' is not a device"),
        ("cuda:0,", "'' is not a device"),
        ("cuda:-1", "'cuda:-1' is not a device"),
        ("cuda:0,auto", "'auto' is not a device"),
        ("cuda:0,cuda:1,cuda", "cuda:0 is named 2 times"),
        ("cuda:0+cuda:0", "cuda:0 is named 2 times"),
        ("cuda:0+", "is a group of one"),
        ("+", "is a group of one"),
        ("cuda:0+cuda:1+", "'' is not a device"),
        ("cuda:0+cpu", "joins devices of several kinds"),
    ],
)
def test_what_names_no_seats_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        checked_devices(text)


def test_a_setting_for_one_device_and_one_for_several_contradict_each_other():
    both = Settings(_env_file=None, device="auto", devices="cpu,cpu")
    assert "DEVICE=auto and DEVICES=cpu,cpu exclude each other" in contradiction_in(both)
    assert contradiction_in(Settings(_env_file=None, devices="cpu,cpu")) is None


@pytest.mark.parametrize("device", ["cuda:0,cuda:1", "cuda:0+cuda:1"])
def test_a_setting_for_one_device_names_no_more_than_one(device):
    assert f"DEVICE={device} names several devices: set DEVICES" in contradiction_in(
        Settings(_env_file=None, device=device, num_worker_processes=2)
    )


def test_a_number_of_cards_means_cards_of_one_kind():
    pinned = Settings(_env_file=None, device="cuda:1", num_worker_processes=2)
    assert "DEVICE=cuda:1 is one card" in contradiction_in(pinned)
    assert contradiction_in(Settings(_env_file=None, device="cuda", num_worker_processes=2)) is None


@pytest.mark.parametrize(("name", "field"), [("HOST", "host"), ("PORT", "port"), ("DEVICE", "device")])
def test_the_names_of_cogview4_fastapi_are_read_too(monkeypatch, name, field):
    monkeypatch.setenv(f"COGVIEW4_{name}", "1")
    assert str(getattr(Settings(_env_file=None), field)) == "1"
    monkeypatch.setenv(name, "2")
    assert str(getattr(Settings(_env_file=None), field)) == "2", "our own name comes first"
