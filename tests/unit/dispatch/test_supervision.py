"""Engines are started again and again, whatever prevents it, until that is hopeless."""

import asyncio
from unittest.mock import Mock

from imageserver.channel import Address
from imageserver.dispatch import supervision
from imageserver.settings import Settings


def test_an_engine_that_the_system_cannot_start_is_tried_again_and_then_given_up(monkeypatch):
    tried = []

    async def refuse(*command, **options):
        tried.append(command)
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(supervision, "FIRST_BACK_OFF", 0.001)
    events = Mock()
    engine = supervision.Engine(Settings(_env_file=None), events, Address(path=None, port=1, key=""))
    asyncio.run(engine.supervise())
    assert len(tried) == supervision.MAX_LOAD_FAILURES
    assert engine.state == "failed"
    events.engine_lost.assert_called_with(silent=False)
