"""The link to the dispatcher outlives whatever comes over it."""

import time

import pytest

from imageserver.dispatch.client import client as client_module
from imageserver.dispatch.client.client import DispatchClient
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.errors import EngineUnavailable
from imageserver.generation import ModelInfo
from imageserver.protocol.messages import ModelRequest, Snapshot
from imageserver.settings import Settings

SNAPSHOT = Snapshot(
    state="healthy", reason="", phase="", load_fraction=None, info=ModelInfo(name="fake"), queue_length=0, active=0,
    total=0, completed=0, failed=0, cancelled=0, engine_restarts=0, queue_wait=0.0, dispatcher_pid=1, engine_pid=None,
)  # fmt: skip


class EndlessChannel:
    """A connection over which one snapshot comes, and then nothing until it is closed."""

    def __init__(self):
        self.is_closed = False

    def __iter__(self):
        yield SNAPSHOT, b""
        while not self.is_closed:
            time.sleep(0.01)

    def close(self):
        self.is_closed = True


def test_an_error_over_one_message_opens_the_link_again_and_makes_no_worker_deaf(monkeypatch, caplog):
    channels, announced = [], []

    def connect(*_):
        channels.append(EndlessChannel())
        return channels[-1], 1

    def announce(info):
        announced.append(info)
        if len(announced) == 1:
            raise SystemError("bad argument to internal function")

    monkeypatch.setattr(client_module, "connect_or_start", connect)
    monkeypatch.setattr(client_module, "FAULT_PAUSE_SECONDS", 0.01)
    client = DispatchClient(Settings(), RuntimeDir(1), on_ready=announce)
    client.start()
    try:
        deadline = time.monotonic() + 10
        while len(announced) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [channel.is_closed for channel in channels] == [True, False]
        assert client.snapshot == SNAPSHOT
        assert "opened again" in caplog.text
    finally:
        client.close()


class FaultyChannel(EndlessChannel):
    """A connection over which one snapshot comes, and then something that cannot be read."""

    def __iter__(self):
        yield SNAPSHOT, b""
        raise SystemError("bad argument to internal function")

    def send(self, *_):
        """Accept it."""


def test_a_link_that_failed_over_a_message_accepts_no_request_until_it_is_opened_again(monkeypatch, caplog):
    monkeypatch.setattr(client_module, "connect_or_start", lambda *_: (FaultyChannel(), 1))
    monkeypatch.setattr(client_module, "FAULT_PAUSE_SECONDS", 30.0)
    client = DispatchClient(Settings(), RuntimeDir(1))
    client.start()
    try:
        deadline = time.monotonic() + 5
        while ("opened again" not in caplog.text or client.snapshot) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.snapshot is None
        with pytest.raises(EngineUnavailable, match="is being restarted"):
            client.load_model(ModelRequest(job=1, load="fake"), timeout=0.01)
    finally:
        client.close()
