"""The devices of a machine are divided among its seats, and are free again when both seat and engine are gone."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from imageserver.cluster.host import offered_devices, seat_folder
from imageserver.cluster.host.seat_folder import DEVICES_VARIABLE, NoDeviceFree, SeatFolder
from imageserver.settings import Settings


@pytest.fixture
def seats(tmp_path):
    return SeatFolder(tmp_path / "seats", ("cuda:0", "cuda:1"))


def test_each_seat_has_a_device_of_its_own_and_a_third_one_is_refused(seats):
    assert [seats.claim().device for _ in seats.devices] == ["cuda:0", "cuda:1"]
    with pytest.raises(NoDeviceFree):
        seats.claim()


def test_two_seats_on_one_cpu_have_different_names(tmp_path):
    seats = SeatFolder(tmp_path, ("cpu", "cpu"))
    assert [(claim.device, claim.name) for claim in (seats.claim(), seats.claim())] == [
        ("cpu", "cpu#1"), ("cpu", "cpu#2")
    ]  # fmt: skip


def test_a_device_is_free_only_when_the_engine_that_outlived_its_seat_is_gone_too(seats):
    claim = seats.claim()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[claim.descriptor]
    ) as engine:
        os.close(claim.descriptor)
        assert seats.has_engines()
        engine.communicate(b"\n")
    assert not seats.has_engines()
    assert seats.claim().device == "cuda:0"


def test_a_node_that_drains_says_so_until_it_begins_again(seats):
    seats.prepare()
    assert not seats.is_draining
    seats.drain()
    assert seats.is_draining
    seats.prepare()
    assert not seats.is_draining


def test_the_seats_of_a_node_find_its_folder_by_the_environment(seats, monkeypatch):
    for name, value in seats.variables.items():
        monkeypatch.setenv(name, value)
    assert SeatFolder.of_this_node() == seats


@pytest.mark.parametrize(
    ("setting", "devices"),
    [("DEVICES=cuda:0,cuda:1", ("cuda:0", "cuda:1")), ("DEVICE=cpu", ("cpu",)), ("DEVICES=none", ())],
)
def test_the_seats_of_a_node_that_others_have_started_divide_the_devices_of_its_settings(setting, devices, monkeypatch):
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name in (DEVICES_VARIABLE, "DEVICES", "DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(*setting.split("="))
    assert SeatFolder.of_this_node().devices == devices


def test_the_seats_of_a_node_that_others_have_started_find_its_cards(monkeypatch):
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name in (DEVICES_VARIABLE, "DEVICES", "DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(offered_devices.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="cuda:0\ncuda:1\n"))
    assert SeatFolder.of_this_node().devices == ("cuda:0", "cuda:1")


def test_a_folder_of_somebody_else_is_not_used(seats, monkeypatch):
    seats.prepare()
    stranger = os.getuid() + 1
    monkeypatch.setattr(seat_folder.os, "getuid", lambda: stranger)
    for use in (seats.prepare, seats.claim):
        with pytest.raises(PermissionError, match="belongs to somebody else"):
            use()
