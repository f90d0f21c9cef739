"""Engines are started again and again until that is hopeless, and killed when they fall silent over their jobs."""

import asyncio
import time
from unittest.mock import Mock

import pytest

from imageserver.dispatch import engine_process
from imageserver.generation import ModelInfo
from imageserver.protocol.channel import Address
from imageserver.protocol.messages import LoadProgress, Ready
from imageserver.settings import Settings

FACTS = ModelInfo(name="m")


def test_an_engine_that_the_system_cannot_start_is_tried_again_and_then_given_up(monkeypatch):
    tried = []

    async def refuse(*command, **options):
        tried.append(command)
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(engine_process, "FIRST_BACKOFF_SECONDS", 0.001)
    events = Mock()
    engine = engine_process.EngineProcess(Settings(_env_file=None), events, Address(path=None, port=1, key=""))
    asyncio.run(engine.supervise())
    assert len(tried) == engine_process.MAX_LOAD_FAILURES
    assert engine.state == "failed"
    events.engine_lost.assert_called_with(silent=False)


@pytest.mark.parametrize(
    ("phase", "killed"),
    [
        (None, True),
        ("waiting", True),
        ("loading", False),
        ("compiling", False),
        ("measuring", False),
    ],
)
def test_an_engine_that_is_silent_over_its_jobs_is_killed_unless_it_loads_a_model(
    phase: str | None, killed: bool
) -> None:
    engine = engine_process.EngineProcess(
        Settings(_env_file=None, step_timeout=0.04), Mock(), Address(path=None, port=1, key="")
    )
    engine.state, engine.ready = "ready", Ready(info=FACTS)
    engine.loading = LoadProgress(phase=phase, sentence="", fraction=None) if phase else None
    engine._process = Mock(returncode=None)
    engine._running[1] = 1.0
    engine._last_sign = time.monotonic() - 60

    async def look() -> None:
        watchdog = asyncio.create_task(engine._watch())
        await asyncio.sleep(0.2)
        watchdog.cancel()

    asyncio.run(look())
    assert engine._process.kill.called == killed
