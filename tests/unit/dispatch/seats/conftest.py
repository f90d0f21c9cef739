"""Scripted processes, which no signal reaches."""

from operator import methodcaller

import pytest

from imageserver.protocol import child_process


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a scripted process its signals by its methods."""
    monkeypatch.setattr(child_process, "terminate", methodcaller("terminate"))
    monkeypatch.setattr(child_process, "kill", methodcaller("kill"))
