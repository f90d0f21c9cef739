"""The dispatcher is found as long as it lives."""

import asyncio
import contextlib
import os
import shutil
import tempfile

import pytest

from imageserver.dispatch import server
from imageserver.dispatch.client import launch
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.settings import Settings
from tests.support.own_loop import run_in_own_loop


@pytest.fixture
def runtime_dir(monkeypatch):
    monkeypatch.setattr(server, "ADDRESS_POLL_SECONDS", 0.001)
    # pytest's own folders are too deep for a Unix socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield RuntimeDir(os.getpid())


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("what", ["address_file", "socket_path", "folder"])
def test_a_worker_that_starts_after_tmp_was_cleaned_up_finds_the_dispatcher(runtime_dir, what, transport):
    settings = Settings(_env_file=None, dispatcher_transport=transport)
    removed, peers = getattr(runtime_dir, what), []

    async def remove_and_find():
        listening = server.ListeningAddress(settings, runtime_dir, lambda reader, writer: peers.append(writer))
        await listening.open()
        keeping = asyncio.create_task(listening.keep())
        shutil.rmtree(removed) if what == "folder" else removed.unlink(missing_ok=True)
        async with asyncio.timeout(5):
            while not peers:
                await asyncio.sleep(0.001)
                with contextlib.suppress(OSError):
                    channel, pid = launch.connect(runtime_dir)
                    channel.close()
        keeping.cancel()
        listening.close()
        for peer in peers:
            peer.close()
        return pid, runtime_dir.read()[0] == listening.address

    assert run_in_own_loop(remove_and_find()) == (os.getpid(), True)


@pytest.mark.parametrize("what", ["address_file", "socket_path", "folder"])
def test_a_worker_that_starts_before_the_address_is_there_again_waits_for_it_and_starts_no_second_dispatcher(
    runtime_dir, what, monkeypatch
):
    monkeypatch.setattr(launch, "dispatchers_of", lambda owner: [owner])
    monkeypatch.setattr(launch, "_start", lambda *_: pytest.fail("a second dispatcher"))
    settings, removed, peers = Settings(_env_file=None), getattr(runtime_dir, what), []

    async def remove_and_start():
        listening = server.ListeningAddress(settings, runtime_dir, lambda reader, writer: peers.append(writer))
        await listening.open()
        shutil.rmtree(removed) if what == "folder" else removed.unlink()
        started = asyncio.create_task(asyncio.to_thread(launch.connect_or_start, runtime_dir, settings))
        while not runtime_dir.launch_lock.exists():
            await asyncio.sleep(0.001)
        keeping = asyncio.create_task(listening.keep())
        channel, pid = await started
        channel.close()
        while not peers:
            await asyncio.sleep(0.001)
        keeping.cancel()
        listening.close()
        for peer in peers:
            peer.close()
        return pid

    assert run_in_own_loop(remove_and_start()) == os.getpid()
