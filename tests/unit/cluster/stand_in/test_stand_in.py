"""The stand-in passes on what the dispatcher and an engine far away say, under a new lease each time."""

import asyncio
import json
import threading
import weakref
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest

from imageserver.cluster.host import engine_host
from imageserver.cluster.host.engine_host import DRAINING
from imageserver.cluster.parcels import Item
from imageserver.cluster.stand_in import __main__ as stand_in
from imageserver.cluster.stand_in import far_seat, machine_search
from imageserver.cluster.stand_in.far_log import FarLog
from imageserver.cluster.stand_in.far_seat import FarMachine, FarSeat, MachineLeaves, SeatLost
from imageserver.cluster.travelling_config import read_travelling_config
from imageserver.cluster.versions import versions
from imageserver.outputs.lease_numbers import next_lease
from imageserver.protocol.channel import Address
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.framing import pack
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import Cancel, MachineChoice, Placed
from imageserver.settings import Settings

CONFIG = EngineConfig(Settings(_env_file=None), Address(None, 1, "near-key"))
PLACED = pack(Placed(machine="10.0.0.7 cuda:0"))


class ScriptedSeat:
    """A seat on a machine with these versions, whose engine sends these items and is lost then."""

    def __init__(self, items=(), **changed):
        self.machine = FarMachine("10.0.0.7", "cuda:0", versions() | changed)
        self.script = items
        self.configs = []
        self.sent = []

    async def describe(self):
        return self.machine

    async def start(self, config):
        self.configs.append(config)

    def send(self, frame):
        self.sent.append(frame)

    async def items(self):
        for item in self.script:
            yield item
        raise SeatLost("The script has ended.")

    async def keep(self):
        await asyncio.sleep(0.05)
        raise SeatLost("The script has ended.")


class RecordingLink:
    """The way to a dispatcher that knows nothing of the machine."""

    def __init__(self):
        self.answers = asyncio.Queue()
        self.reports = []
        self.frames = []

    def report(self, phase, sentence):
        self.reports.append(sentence)

    def send(self, frame):
        self.frames.append(bytes(frame))
        if frame == PLACED:
            self.answers.put_nowait(pack(MachineChoice()))

    async def receive(self):
        return await self.answers.get()

    async def close(self):
        pass


def serve(seat, *calls, known=None):
    """Let the stand-in serve until the seat is lost; return what the dispatcher saw."""

    async def body():
        link, queue = RecordingLink(), asyncio.Queue()
        for call in (pack(Cancel(job=1)), pack(MachineChoice(choice=known)), *calls):
            queue.put_nowait(call)
        with pytest.raises(SeatLost):
            await stand_in._serve(seat, seat.machine, link, queue, CONFIG)
        return link

    return asyncio.run(body())


def test_frames_are_passed_on_unread_in_both_directions():
    seat = ScriptedSeat([Item("frame", b"\x00not a message"), Item("frame", memoryview(b"another"))])
    link = serve(seat, b"first", b"second")
    assert link.frames == [PLACED, b"\x00not a message", b"another"]
    assert seat.sent == [b"first", b"second"]
    assert "10.0.0.7 cuda:0" in link.reports[-1]


@pytest.mark.parametrize("known", [None, InitialModel("big", "It fits.", "full", "It fits.", False, machine="there")])
def test_an_engine_is_told_what_the_dispatcher_knows_of_its_machine_once_it_is_placed(known):
    seat = ScriptedSeat()
    serve(seat, known=known)
    [content] = seat.configs
    assert read_travelling_config(content, "cuda:0", CONFIG.address).configured_model == known


def test_lines_of_the_far_engine_s_log_name_their_machine_and_forge_no_other_line(capsys):
    FarLog("text", "10.0.0.7 cuda:0").write(b"12:00:00 INFO engine: It is\x1b[31m ready.")
    FarLog("json", "10.0.0.7 cuda:0").write(b'{"level": "INFO", "message": "Ready."}')
    FarLog("json", "10.0.0.7 cuda:0").write(b"A library has printed this.")
    text, ours, foreign = capsys.readouterr().err.splitlines()
    assert text == r"[10.0.0.7 cuda:0] 12:00:00 INFO engine: It is\x1b[31m ready."
    assert json.loads(ours) == {"level": "INFO", "message": "Ready.", "machine": "10.0.0.7 cuda:0"}
    assert json.loads(foreign)["machine"] == "10.0.0.7 cuda:0"


def test_the_end_of_a_far_engine_is_logged_with_its_last_lines(caplog):
    FarLog("text", "10.0.0.7 cuda:0").write_end(json.dumps({"status": -9, "lines": ["one", "two"]}).encode())
    assert "The engine on 10.0.0.7 cuda:0 ended with status -9; its last lines: one | two" in caplog.text


def test_every_lease_is_higher_than_all_earlier_ones_also_where_the_clock_went_back(tmp_path, monkeypatch):
    first = next_lease(tmp_path)
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000)
    assert [next_lease(tmp_path), next_lease(tmp_path)] == [first + 1, first + 2]


def test_a_state_folder_that_cannot_be_used_stops_no_engine(tmp_path):
    (tmp_path / "state").touch()
    assert next_lease(tmp_path / "state") > 10**12


@pytest.fixture
def ended(monkeypatch):
    """Let a stand-in run without a dispatcher and without Ray; return the statuses that it ended with."""
    statuses, link = [], RecordingLink()
    monkeypatch.setattr(stand_in, "connect", AsyncMock(return_value=link))
    monkeypatch.setattr(stand_in.membership, "join", lambda settings: None)
    monkeypatch.setattr(machine_search, "next_lease", lambda folder: 1)
    monkeypatch.setattr(machine_search, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(machine_search, "addresses", set)
    monkeypatch.setattr(stand_in.os, "_exit", statuses.append)
    return statuses


def test_a_stand_in_that_fails_leaves_at_once_and_says_why(ended, monkeypatch, caplog):
    seat = SimpleNamespace(describe=AsyncMock(side_effect=RuntimeError("Nobody has thought of this.")))
    monkeypatch.setattr(machine_search, "FarSeat", lambda lease: seat)
    asyncio.run(stand_in.stand_in(CONFIG))
    assert ended == [1]
    assert "Nobody has thought of this." in caplog.text


def test_a_machine_that_leaves_is_kept_while_another_one_is_asked(ended, monkeypatch):
    leaving, free = ScriptedSeat(), ScriptedSeat()
    seats, kept = [leaving, free], weakref.ref(leaving)
    leaving.describe = AsyncMock(side_effect=MachineLeaves)
    free.start = AsyncMock(side_effect=lambda config: free.configs.append(kept() is not None))
    del leaving
    monkeypatch.setattr(machine_search, "FarSeat", lambda lease: seats.pop(0))
    asyncio.run(stand_in.stand_in(CONFIG))
    assert free.configs == [True]
    assert ended == [1]


def test_a_head_that_does_not_answer_is_waited_for_with_a_sentence_that_says_how_to_go_on(monkeypatch):
    link, answers = RecordingLink(), threading.Event()
    monkeypatch.setattr(stand_in, "JOIN_SECONDS", 0.01)
    monkeypatch.setattr(stand_in.membership, "join", lambda settings: answers.wait(30))

    async def join():
        joining = asyncio.create_task(
            stand_in._join(Settings(_env_file=None, cluster="10.0.0.9:6379", cluster_token="hush"), link)
        )
        while len(link.reports) < 2:
            await asyncio.sleep(0.01)
        answers.set()
        await joining

    asyncio.run(asyncio.wait_for(join(), 20))
    assert link.reports[1] == (
        "The cluster at 10.0.0.9:6379 does not answer. If its head has lost its memory in a restart, restart the other "
        "machines too."
    )


def test_a_lost_machine_is_given_up_before_it_ends_its_engine_and_both_within_six_seconds():
    noticed, ended = far_seat.LOST_SECONDS, engine_host.LEASE_SECONDS
    assert noticed < ended
    assert ended + engine_host.CHECK_SECONDS <= 6


def test_the_lease_is_kept_while_the_engine_is_started():
    seat, beats = ScriptedSeat(), []

    async def keep():
        beats.append(len(seat.configs))
        await asyncio.Event().wait()

    seat.keep = keep
    serve(seat)
    assert (beats, len(seat.configs)) == ([0], 1)


def test_a_seat_on_a_machine_that_drains_says_that_it_leaves(monkeypatch):
    host = SimpleNamespace(describe=SimpleNamespace(remote=AsyncMock(return_value=DRAINING)))
    monkeypatch.setattr(far_seat.ray, "remote", lambda **_: lambda actor: SimpleNamespace(remote=lambda lease: host))
    with pytest.raises(MachineLeaves):
        asyncio.run(FarSeat(1).describe())
