"""Engines are started again and again until that is hopeless, and killed when they fall silent over their jobs."""

import asyncio
import json
from unittest.mock import AsyncMock, Mock

import pytest

from imageserver.dispatch.engine_process import MAX_LOAD_FAILURES, EngineProcess
from imageserver.generation import ModelInfo
from imageserver.protocol.engine_config import InitialModel
from imageserver.protocol.messages import LoadProgress, Ready, Run
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.scripted_engine import ADDRESS, ScriptedPeer, ScriptedProcess

STEP_TIMEOUT_SECONDS = 60.0


async def test_an_engine_that_the_system_cannot_start_is_tried_again_and_then_given_up(monkeypatch):
    start = AsyncMock(side_effect=OSError(12, "Cannot allocate memory"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    events = Mock()
    engine = EngineProcess(Settings(_env_file=None), ADDRESS)
    await engine.supervise(events)
    assert start.call_count == MAX_LOAD_FAILURES
    assert engine.state == "failed"
    events.engine_lost.assert_called_with(silent=False)


@pytest.mark.parametrize(
    ("phase", "killed"),
    [(None, True), ("waiting", True), ("loading", False), ("compiling", False), ("measuring", False)],
)
async def test_an_engine_that_is_silent_over_its_jobs_is_killed_unless_it_loads_a_model(monkeypatch, phase, killed):
    processes = [ScriptedProcess(), ScriptedProcess()]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None, step_timeout=STEP_TIMEOUT_SECONDS), ADDRESS)
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await asyncio.sleep(0)
    progress = [LoadProgress(phase=phase, sentence="")] if phase else []
    connection = asyncio.create_task(engine.attach(ScriptedPeer(Ready(info=ModelInfo(name="m")), *progress)))
    await asyncio.sleep(STEP_TIMEOUT_SECONDS)
    engine.run(Run(job=1, generation=generation()))
    await asyncio.sleep(STEP_TIMEOUT_SECONDS - 1)
    assert not processes[0].killed.is_set(), "silence counts from the job's start"
    await asyncio.sleep(2)
    assert processes[0].killed.is_set() == killed
    await engine.stop()
    await asyncio.gather(supervision, connection)


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
        engine.default_model = InitialModel.of(ModelInfo(name=chosen))
    engine._process.kill()
    await connection


async def test_every_engine_is_told_what_the_settings_meant_at_first_also_by_a_later_dispatcher(monkeypatch, tmp_path):
    processes = [ScriptedProcess() for _ in range(4)]
    monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=processes))
    engine = EngineProcess(Settings(_env_file=None), ADDRESS, tmp_path / "model")
    supervision = asyncio.create_task(engine.supervise(Mock()))
    await run_engine(engine, "big", chosen="chosen")
    await run_engine(engine, "chosen")
    await asyncio.sleep(1)
    await engine.stop()
    await supervision
    later = EngineProcess(Settings(_env_file=None), ADDRESS, tmp_path / "model")
    supervision = asyncio.create_task(later.supervise(Mock()))
    await asyncio.sleep(1)
    await later.stop()
    await supervision
    assert initial_models(processes) == [(None, None), ("chosen", "big"), ("chosen", "big"), (None, "big")]
