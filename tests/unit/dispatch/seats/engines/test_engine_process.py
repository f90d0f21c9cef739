"""Engines are started again and again until that is hopeless, and killed when they fall silent over their jobs."""

import asyncio
import contextlib
import dataclasses
import json
from unittest.mock import AsyncMock, Mock

import pytest

from imageserver.dispatch.seats.engines.engine_process import (
    FIRST_BACKOFF_SECONDS,
    MAX_LOAD_FAILURES,
    UNCONNECTED_SECONDS,
    EngineProcess,
)
from imageserver.dispatch.seats.engines.engine_questions import QUESTION_TIMEOUT_SECONDS
from imageserver.generation import ModelInfo
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import (
    Failed,
    LoadModel,
    LoadProgress,
    LoraRequest,
    ModelChosen,
    Placed,
    Progress,
    Ready,
    Retiring,
    Run,
    UnloadModel,
)
from imageserver.settings import Settings
from tests.support.dispatch_harness import Recorder
from tests.support.factories import generation
from tests.support.scripted_engine import ADDRESS, CONFIG, ScriptedPeer, ScriptedProcess

STEP_TIMEOUT_SECONDS = 60.0
LOAD_STALL_SECONDS = Settings.model_fields["load_stall_timeout"].default
UNLOAD = UnloadModel(job=1, name="m")


async def test_an_engine_that_the_system_cannot_start_is_tried_again_and_then_given_up(monkeypatch):
    start = AsyncMock(side_effect=OSError(12, "Cannot allocate memory"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    events = Mock()
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG)
    await engine.supervise(events)
    assert start.call_count == MAX_LOAD_FAILURES
    assert engine.state == "failed"
    events.engine_lost.assert_called_with(silent=False)


async def test_the_last_connection_of_an_engine_that_has_ended_is_not_taken_for_the_next_ones(monkeypatch):
    processes = [ScriptedProcess() for _ in range(2)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await asyncio.sleep(0)
    key = json.loads(processes[0].stdin.write.call_args.args[0])["address"]["key"]
    assert engine.is_own(key)
    processes[0].kill()
    await asyncio.sleep(FIRST_BACKOFF_SECONDS / 2)
    assert (engine.state, engine.is_own(key)) == ("restarting", False)
    await engine.stop()
    await supervision


@contextlib.asynccontextmanager
async def started_engine(monkeypatch, *messages):
    """An engine that has sent these messages, its process and its connection."""
    process, peer = ScriptedProcess(), ScriptedPeer(Ready(info=ModelInfo(name="m", reason="It fits.")), *messages)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=[process, ScriptedProcess()]))
    engine = EngineProcess(Settings(_env_file=None, step_timeout=STEP_TIMEOUT_SECONDS), ADDRESS, CONFIG)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await asyncio.sleep(0)
    connection = asyncio.create_task(engine.attach(peer))
    await asyncio.sleep(2 * STEP_TIMEOUT_SECONDS)
    yield engine, process, peer
    await engine.stop()
    peer.close()
    await asyncio.gather(supervision, connection)


@pytest.mark.parametrize(
    ("phase", "killed"),
    [(None, True), ("waiting", True), ("loading", False), ("compiling", False), ("measuring", False)],
)
async def test_an_engine_that_is_silent_over_its_jobs_is_killed_unless_it_loads_a_model(monkeypatch, phase, killed):
    progress = [LoadProgress(phase=phase, sentence="")] if phase else []
    async with started_engine(monkeypatch, *progress) as (engine, process, peer):
        engine.run(Run(job=1, generation=generation()))
        peer.is_deaf = True
        await asyncio.sleep(STEP_TIMEOUT_SECONDS - 1)
        assert not process.killed.is_set(), "silence counts from the job's start"
        await asyncio.sleep(2)
        assert process.killed.is_set() == killed


@pytest.mark.fault(44)
async def test_an_engine_that_is_deaf_while_idle_is_noticed_within_5_seconds_and_replaced_within_30(monkeypatch):
    async with started_engine(monkeypatch) as (engine, process, peer):
        assert (engine.state, process.killed.is_set()) == ("ready", False), "one that answers pings lives on"
        peer.is_deaf = True
        await asyncio.sleep(5)
        assert (engine.state, engine.is_ready, process.killed.is_set()) == ("silent", False, False)
        await asyncio.sleep(25)
        assert process.killed.is_set()
        assert engine.restarts == 1


async def test_a_first_load_without_any_progress_ends_with_a_sentence_and_another_try(monkeypatch):
    processes = [ScriptedProcess() for _ in range(2)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await asyncio.sleep(0)
    loading = ScriptedPeer(LoadProgress(phase="loading", sentence="The transformer is read."))
    connection = asyncio.create_task(engine.attach(loading))
    await asyncio.sleep(LOAD_STALL_SECONDS - 1)
    assert (engine.reason, processes[0].killed.is_set()) == ("The transformer is read.", False)
    await asyncio.sleep(2)
    assert processes[0].killed.is_set()
    sentence = f"The engine loaded a model without any progress for {LOAD_STALL_SECONDS:g} s and was killed."
    assert (engine.state, engine.reason) == ("restarting", f"{sentence} A new one starts in 0.5 s.")
    await asyncio.sleep(1)
    assert (engine.state, engine.reason) == ("loading", f"{sentence} A new engine process is starting.")
    connection = asyncio.create_task(engine.attach(ScriptedPeer(Ready(info=ModelInfo(name="m")))))
    await asyncio.sleep(1)
    assert (engine.state, engine.restarts) == ("ready", 1)
    await engine.stop()
    connection.cancel()
    await supervision


async def test_a_later_load_without_any_progress_ends_the_engine(monkeypatch):
    async with started_engine(monkeypatch, LoadProgress(phase="loading", sentence="")) as (engine, process, _):
        engine.send(LoadModel(job=2, name="other"))
        await asyncio.sleep(LOAD_STALL_SECONDS - 1)
        assert not process.killed.is_set()
        await asyncio.sleep(2)
        assert process.killed.is_set()


async def test_a_stand_in_for_a_far_engine_may_wait_for_a_machine_for_ever(monkeypatch):
    process = ScriptedProcess()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=[process]))
    far = dataclasses.replace(CONFIG, is_far=True)
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, far)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await asyncio.sleep(10 * LOAD_STALL_SECONDS)
    assert (engine.state, process.killed.is_set()) == ("loading", False)
    await engine.stop()
    await supervision


async def test_an_engine_that_was_silent_for_a_while_is_ready_again_at_its_next_sign_of_life(monkeypatch):
    async with started_engine(monkeypatch) as (engine, process, peer):
        peer.is_deaf = True
        await asyncio.sleep(10)
        assert engine.state == "silent"
        peer.is_deaf = False
        await asyncio.sleep(60)
        assert (engine.state, engine.reason, process.killed.is_set()) == ("ready", "It fits.", False)


async def test_an_engine_may_be_silent_as_long_as_a_step_while_it_attaches_a_lora_or_unloads_a_model(monkeypatch):
    for change in (lambda engine: engine.ask(LoraRequest(job=1), Mock()), lambda engine: engine.send(UNLOAD)):
        async with started_engine(monkeypatch) as (engine, process, peer):
            peer.is_deaf = True
            change(engine)
            await asyncio.sleep(STEP_TIMEOUT_SECONDS - 2)
            assert (engine.state, process.killed.is_set()) == ("ready", False)
            await asyncio.sleep(3)
            assert process.killed.is_set()


@pytest.mark.parametrize("deaf", [True, False])
async def test_every_question_is_answered_also_by_an_engine_that_is_deaf_or_never_answers_it(monkeypatch, deaf):
    async with started_engine(monkeypatch) as (engine, process, peer):
        peer.is_deaf, listener = deaf, Recorder()
        engine.ask(LoraRequest(job=1), listener)
        await asyncio.sleep(STEP_TIMEOUT_SECONDS + 1 if deaf else QUESTION_TIMEOUT_SECONDS + 1)
        assert listener.of(1) == ["engine_unavailable" if deaf else "deadline_exceeded"]
        assert (engine.is_asked, process.killed.is_set()) == (False, deaf)


def initial_models(processes):
    """Return the names of the models that each engine was configured to begin with."""
    configs = [json.loads(process.stdin.write.call_args.args[0]) for process in processes if process.stdin.write.called]
    names = ("default_model", "configured_model")
    return [tuple(config[name] and config[name]["name"] for name in names) for config in configs]


async def run_engine(engine, model, *, chosen=None):
    """Let the engine that has just been started load a model, a client choose one, and the engine die."""
    await asyncio.sleep(1)
    connection = asyncio.create_task(engine.attach(ScriptedPeer(Ready(info=ModelInfo(name=model)))))
    await asyncio.sleep(1)
    if chosen is not None:
        engine.initial_models.chosen = InitialModel.of(ModelInfo(name=chosen))
    engine._process.kill()
    await connection


async def test_every_engine_is_told_what_the_settings_meant_at_first_also_by_a_later_dispatcher(monkeypatch, tmp_path):
    processes = [ScriptedProcess() for _ in range(4)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG, tmp_path / "model")
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await run_engine(engine, "big", chosen="chosen")
    await run_engine(engine, "chosen")
    await asyncio.sleep(1)
    await engine.stop()
    await supervision
    later = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG, tmp_path / "model")
    supervision = asyncio.create_task(later.supervise(Mock()))
    await asyncio.sleep(1)
    await later.stop()
    await supervision
    assert initial_models(processes) == [(None, None), ("chosen", "big"), ("chosen", "big"), (None, "big")]


async def test_an_engine_that_dies_while_it_loads_its_first_choice_is_followed_by_one_with_that_choice(
    monkeypatch, tmp_path
):
    """The memory that the dead one still holds would let MODEL=auto choose the demo model, without a word."""
    processes = [ScriptedProcess() for _ in range(3)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    for dispatcher in range(2):
        engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG, tmp_path / "model")
        supervision = asyncio.create_task(engine.supervise(Mock()))
        await asyncio.sleep(0)
        choice = dataclasses.replace(InitialModel.of(ModelInfo(name=["big", "never"][dispatcher])), was_loaded=False)
        connection = asyncio.create_task(engine.attach(ScriptedPeer(ModelChosen(choice=choice))))
        await asyncio.sleep(1)
        assert engine.state == "loading"
        if dispatcher == 0:
            processes[0].kill()
            await asyncio.sleep(1)
        connection.cancel()
        await engine.stop()
        await supervision
    assert initial_models(processes) == [(None, None), (None, "big"), (None, "big")]


async def test_what_the_settings_mean_on_one_machine_is_told_to_no_engine_on_another_one(monkeypatch):
    """A seat whose machine dies in its first load finds another one, which may be larger or smaller."""
    processes = [ScriptedProcess() for _ in range(4)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    told = []
    for machine, model in (("10.0.0.7 cuda:0", "small"), ("10.0.0.8 cuda:0", "big"), ("10.0.0.7 cuda:0", "big")):
        choice = dataclasses.replace(InitialModel.of(ModelInfo(name=model)), was_loaded=False)
        await asyncio.sleep(1)
        peer = ScriptedPeer(Placed(machine=machine), ModelChosen(choice=choice))
        connection = asyncio.create_task(engine.attach(peer))
        await asyncio.sleep(1)
        engine._process.kill()
        await connection
        [answer] = peer.received
        told.append(answer.choice and (answer.choice.machine, answer.choice.name))
        await asyncio.sleep(2)
    await engine.stop()
    await supervision
    assert told == [None, None, ("10.0.0.7 cuda:0", "small")]
    assert initial_models(processes) == [(None, None)] * 4


async def test_an_engine_that_is_being_stopped_is_given_nothing_more(monkeypatch):
    async with started_engine(monkeypatch) as (engine, process, _):
        process.terminate = Mock()
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(1)
        assert (engine.state, engine.is_ready) == ("ready", False)
        await stopping


async def test_an_engine_that_outlives_its_connection_is_killed_and_replaced(monkeypatch):
    async with started_engine(monkeypatch) as (engine, process, peer):
        peer.close()
        await asyncio.sleep(UNCONNECTED_SECONDS - 1)
        assert not process.killed.is_set(), "it may be about to end"
        await asyncio.sleep(2)
        assert process.killed.is_set()
        assert engine.restarts == 1


async def test_what_an_engine_says_after_it_was_replaced_is_dropped(monkeypatch):
    processes, events = [ScriptedProcess(), ScriptedProcess()], Mock()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, CONFIG)
    supervision = asyncio.create_task(engine.supervise(events))
    frozen, successor = (ScriptedPeer(Ready(info=ModelInfo(name="m"))) for _ in range(2))
    frozen.close = lambda: None  # its last words are still in the buffer
    await asyncio.sleep(1)
    connections = [asyncio.create_task(engine.attach(frozen))]
    await asyncio.sleep(1)
    engine.run(Run(job=1, generation=generation()))
    processes[0].kill()
    await asyncio.sleep(1)
    connections.append(asyncio.create_task(engine.attach(successor)))
    await asyncio.sleep(1)
    engine.run(Run(job=1, generation=generation()))
    frozen.answer(Progress(job=1, step=9, total=9))
    frozen.answer(Failed(job=1, code="generation_failed", sentence="Late."))
    successor.answer(Progress(job=1, step=1, total=9))
    await asyncio.sleep(1)
    assert [call.args[0] for call in events.job_event.call_args_list] == [Progress(job=1, step=1, total=9)]
    assert engine._running.images == 1, "the successor still works on it"
    await engine.stop()
    successor.close()
    await asyncio.gather(supervision, *connections)


async def test_an_engine_whose_machine_leaves_gets_no_more_jobs_and_ends_after_its_last_one(monkeypatch):
    async with started_engine(monkeypatch) as (engine, process, _):
        engine.run(Run(job=1, generation=generation()))
        engine._receive(Retiring(), b"")
        await asyncio.sleep(1)
        assert (engine.is_ready, engine.has_room(ModelInfo(name="m"))) == (False, False)
        assert not process.killed.is_set()
        engine._receive(Failed(job=1, code="cancelled", sentence=""), b"")
        await asyncio.sleep(1)
        assert process.killed.is_set()
