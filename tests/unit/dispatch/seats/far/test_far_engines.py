"""What MODEL=auto has meant on a machine outlives the seat whose engine dies there, and the dispatcher."""

import asyncio
import dataclasses
from unittest.mock import AsyncMock, Mock

import pytest

from imageserver.dispatch.seats.engines.engine_process import MAX_LOAD_FAILURES
from imageserver.dispatch.seats.far.far_engines import FarEngines
from imageserver.generation import ModelInfo
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import LoadFailed, MachineChoice, ModelChosen, Placed, Ready, Retiring
from imageserver.settings import Settings
from tests.support.scripted_engine import ADDRESS, CONFIG, ScriptedPeer, ScriptedProcess

MACHINE = "10.0.0.7 cuda:0"
FAR = dataclasses.replace(CONFIG, is_far=True)
CHOSEN = dataclasses.replace(InitialModel.of(ModelInfo(name="big"), MACHINE), was_loaded=False)
READY = Ready(info=ModelInfo(name="big"))
LOADED = InitialModel.of(ModelInfo(name="big"), MACHINE)


@pytest.fixture(autouse=True)
def _processes(monkeypatch):
    start = AsyncMock(side_effect=lambda *_, **__: ScriptedProcess())
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)


@pytest.fixture
def engines(tmp_path):
    return FarEngines(Settings(_env_file=None), ADDRESS, tmp_path / "far-models")


async def run_seat(engine, *messages, deaths=1):
    """Let a seat find the machine, and its engines send these messages and die; return what each was told first."""
    told = []
    supervision = asyncio.create_task(engine.supervise(Mock()))
    for _ in range(deaths):
        await asyncio.sleep(1)
        peer = ScriptedPeer(Placed(machine=MACHINE), *messages)
        connection = asyncio.create_task(engine.attach(peer))
        await asyncio.sleep(1)
        engine._process.kill()
        await connection
        told.append(peer.received[0])
        await asyncio.sleep(60)
    await engine.stop()
    await supervision
    return [message.choice for message in told if isinstance(message, MachineChoice)]


@pytest.mark.parametrize(
    ("messages", "deaths", "told"),
    [
        ((READY,), 1, LOADED),
        ((ModelChosen(choice=CHOSEN),), 1, CHOSEN),
        ((READY, Retiring()), 1, None),
        ((ModelChosen(choice=CHOSEN), LoadFailed(sentence="It does not fit.")), 1, None),
        ((ModelChosen(choice=CHOSEN),), MAX_LOAD_FAILURES, None),
        ((Ready(info=ModelInfo(name="demo")),), 1, None),
    ],
    ids=[
        "it dies",
        "it dies as it loads",
        "it leaves",
        "it cannot load it",
        "it dies each time as it loads",
        "it had the demo model",
    ],
)
async def test_a_seat_that_follows_one_whose_engine_died_is_told_what_that_had_chosen(engines, messages, deaths, told):
    assert (await run_seat(engines.open(FAR), *messages, deaths=deaths))[0] is None
    assert await run_seat(engines.open(FAR)) == [told]


async def test_a_seat_that_waited_for_a_machine_before_anything_was_chosen_there_is_told_too(engines):
    """The one that waits for the next offer is opened as soon as the last offer was taken."""
    spare = engines.open(FAR)
    supervision = asyncio.create_task(spare.supervise(Mock()))
    await asyncio.sleep(1)
    await run_seat(engines.open(FAR), READY)
    peer = ScriptedPeer(Placed(machine=MACHINE))
    connection = asyncio.create_task(spare.attach(peer))
    await asyncio.sleep(1)
    await spare.stop()
    await asyncio.gather(supervision, connection)
    assert peer.received == [MachineChoice(choice=LOADED)]


async def test_a_later_dispatcher_tells_each_machine_its_own_choice(engines, tmp_path):
    await run_seat(engines.open(FAR), READY)
    later = FarEngines(Settings(_env_file=None), ADDRESS, tmp_path / "far-models")
    assert await run_seat(later.open(FAR), Retiring()) == [LOADED]
    latest = FarEngines(Settings(_env_file=None), ADDRESS, tmp_path / "far-models")
    assert await run_seat(latest.open(FAR)) == [None], "it has left"
