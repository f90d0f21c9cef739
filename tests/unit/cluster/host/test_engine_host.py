"""The seat on the far machine runs a real process, passes frames unread, and obeys one lease only."""

import asyncio
import inspect
import json
import os
import signal
import socket
import tempfile
import time
import typing
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from imageserver.cluster.compression import decompress
from imageserver.cluster.host import engine_host, far_engine
from imageserver.cluster.host.engine_host import DRAINING, EngineHost
from imageserver.cluster.host.seat_folder import DEVICES_VARIABLE, FOLDER_VARIABLE, SeatFolder
from imageserver.cluster.parcels import read_parcel
from imageserver.cluster.travelling_config import write_travelling_config
from imageserver.protocol.channel import Address
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.framing import pack, read_frame
from imageserver.protocol.messages import Finished, Ping, Pong, Ready, Run
from imageserver.settings import Settings
from tests.support.factories import generation

LEASE = 7
CONFIG = write_travelling_config(EngineConfig(Settings(_env_file=None), Address(None, 1, "near-key")), "10.0.0.7 cpu")
MAY_TRAVEL = {bytes, str, int, None, type(None), AsyncIterator[bytes]}


class Holder:
    """What the near side does with a host, without Ray in between."""

    def __init__(self, host):
        self.host = host
        self.parcels = host.parcels()
        self.items = []
        self.has_ended = False

    async def until(self, kind, found=lambda content: True):
        """Return the content of the next item of a kind that a test looks for."""
        while True:
            while self.items:
                item = self.items.pop(0)
                self.has_ended = self.has_ended or item.kind == "end"
                if item.kind == kind and found(bytes(item.content)):
                    return bytes(item.content)
            parcel = await asyncio.wait_for(anext(self.parcels), 20)
            self.items = [decompress(item) for item in read_parcel(parcel, LEASE)]

    async def until_message(self, kind):
        return message_in(await self.until("frame", lambda frame: isinstance(message_in(frame), kind)))


def message_in(frame):
    parser = read_frame()
    size, position = next(parser), 0
    try:
        while True:
            size, position = parser.send(frame[position : position + size]), position + size
    except StopIteration as end:
        return end.value[0]


@pytest.fixture
def far_machine(tmp_path, monkeypatch):
    """Let hosts be on a machine with one device, whose engine is the fake one."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "seats"))
    monkeypatch.setenv(DEVICES_VARIABLE, "cpu")
    monkeypatch.setenv("ENGINE_MODULE", "tests.support.fake_engine")
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.7")
    # It would end this process, where another one keeps both cores busy.
    monkeypatch.setattr(engine_host, "LEASE_SECONDS", 60.0)


@pytest.fixture
def holder(far_machine):
    """Run a test's coroutine with the holder of a host."""

    def run(test):
        async def body():
            holder = Holder(EngineHost(LEASE))
            assert json.loads(await holder.host.describe())["address"] == "10.0.0.7"
            await holder.host.start(LEASE, CONFIG)
            try:
                await test(holder)
            finally:
                holder.host._engine.kill()
                if not holder.has_ended:
                    await holder.until("end")
                for guard in holder.host._guards:
                    guard.cancel()

        asyncio.run(body())

    return run


def test_ray_is_handed_bytes_text_and_whole_numbers_only():
    for name, method in inspect.getmembers(EngineHost, inspect.isfunction):
        if name == "__init__" or not name.startswith("_"):
            assert set(typing.get_type_hints(method).values()) <= MAY_TRAVEL, name


def test_an_engine_far_away_generates_with_calls_that_overtook_each_other(holder):
    async def test(holder):
        await holder.until_message(Ready)
        await holder.host.send(LEASE, 1, pack(Ping()))
        await holder.host.send(LEASE, 0, pack(Run(job=5, generation=generation())))
        assert (await holder.until_message(Finished)).job == 5
        await holder.until_message(Pong)

    holder(test)


def test_calls_under_another_lease_change_nothing(holder):
    async def test(holder):
        await holder.until_message(Ready)
        await holder.host.send(LEASE - 1, 0, pack(Run(job=4, generation=generation())))
        await holder.host.beat(LEASE - 1)
        await holder.host.send(LEASE, 0, pack(Run(job=5, generation=generation())))
        assert (await holder.until_message(Finished)).job == 5

    holder(test)


def test_the_end_of_an_engine_comes_with_the_last_lines_that_it_wrote(holder, monkeypatch):
    monkeypatch.setenv("ENGINE_MODULE", "this")  # prints 20 lines and an empty one, and ends

    async def test(holder):
        assert await holder.until("log") == b"The Zen of Python, by Tim Peters"
        end = json.loads(await holder.until("end"))
        assert end["status"] == 0
        assert len(end["lines"]) == 20
        assert end["lines"][-1] == "Namespaces are one honking great idea -- let's do more of those!"

    holder(test)


def test_an_engine_that_is_killed_is_noticed_at_once(holder):
    async def test(holder):
        os.kill((await holder.until_message(Ready)).info.pid, signal.SIGKILL)
        began = time.monotonic()
        assert json.loads(await holder.until("end"))["status"] == -signal.SIGKILL
        assert time.monotonic() - began < 5

    holder(test)


def test_a_seat_whose_holder_beats_no_more_ends_with_its_engine(holder, monkeypatch):
    monkeypatch.setattr(engine_host, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(engine_host, "CHECK_SECONDS", 0.05)
    ended = []
    monkeypatch.setattr(engine_host.os, "_exit", ended.append)

    async def test(holder):
        await holder.until_message(Ready)
        for _ in range(3):
            await holder.host.beat(LEASE)
            await asyncio.sleep(0.8)
        assert not ended
        await holder.host.beat(LEASE - 1)
        assert json.loads(await holder.until("end"))["status"] == -signal.SIGKILL
        assert ended == [1]

    holder(test)


def test_a_lease_does_not_run_while_a_slow_disk_is_read_for_the_versions(far_machine, monkeypatch):
    now, ended = [0.0], []

    def read_slowly():
        now[0] += 100.0
        return {}

    monkeypatch.setattr(engine_host, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(engine_host, "versions", read_slowly)
    monkeypatch.setattr(engine_host.os, "_exit", ended.append)

    async def body():
        host = EngineHost(LEASE)
        await host.describe()
        await asyncio.sleep(0.01)
        for guard in host._guards:
            guard.cancel()

    asyncio.run(body())
    assert ended == []


def test_a_refused_machine_that_drains_ends_its_seat_at_once(far_machine, monkeypatch):
    ended = []
    monkeypatch.setattr(engine_host, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(engine_host.os, "_exit", ended.append)

    async def body():
        host = EngineHost(LEASE)
        await host.describe()
        SeatFolder.of_this_node().drain()
        await asyncio.wait_for(host._guards[1], 5)
        host._guards[0].cancel()

    asyncio.run(body())
    assert ended == [1]


def test_a_machine_that_drains_says_so_instead_of_letting_its_holder_wait(far_machine):
    seats = SeatFolder.of_this_node()
    seats.prepare()
    seats.drain()
    assert asyncio.run(asyncio.wait_for(EngineHost(LEASE).describe(), 5)) == DRAINING
    assert not seats.has_engines()


def test_however_engines_end_their_machine_keeps_one_lock_and_one_socket_for_each_device(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as dead:  # of an engine whose seat was killed
        (tmp_path / "seats").mkdir()
        dead.bind(str(tmp_path / "seats" / "0.sock"))

    async def test(holder):
        await holder.until_message(Ready)
        assert {file.name for file in tmp_path.rglob("*")} == {"seats", "0.lock", "0.sock"}

    holder(test)


def test_an_engine_is_not_told_the_token_of_its_cluster(monkeypatch):
    for name in ("CLUSTER_TOKEN", "cluster_token", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("HF_HOME", "/weights")
    assert "hush-hush" not in far_engine._environment().values()
    assert far_engine._environment()["HF_HOME"] == "/weights"
