"""What a rank survives: a forward that fails on its own, and nothing that leaves it out of step with rank 0."""

import os
from typing import Any

import pytest
import torch

from imageserver.engine.card_group.messages import ComputeForward, RankDone, RankFailed
from imageserver.engine.card_group.values import describe
from imageserver.engine.rank import rank_server
from imageserver.engine.rank.rank_server import RankServer
from tests.support.device_errors import Ended
from tests.support.fake_denoiser import POISON, FakeDenoiser


class ScriptedChannel:
    """Rank 0, which has asked for some forwards."""

    def __init__(self, *requests: ComputeForward) -> None:
        self.requests = requests
        self.answers: list[Any] = []

    def __iter__(self) -> Any:
        return iter([(request, b"") for request in self.requests])

    def send(self, message: Any, raw: bytes = b"") -> None:
        self.answers.append(message)


class ScriptedProcessGroup:
    """A process group in which calls of these texts arrive, and which may fail on one of its ways."""

    def __init__(self, *texts: float, broken: str = "") -> None:
        self.texts = list(texts)
        self.broken = broken

    def receive(self, described: Any, sender: int) -> Any:
        if self.broken == "receive":
            raise RuntimeError("connection reset")
        text = torch.full((1, 1), self.texts.pop(0))
        return {"hidden_states": torch.ones(1, 1), "timestep": torch.zeros(1), "text": text}

    def send(self, value: Any, to: int) -> None:
        if self.broken == "send":
            raise RuntimeError("connection reset")


@pytest.fixture(autouse=True)
def end(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", exit_)


def served(met: ScriptedProcessGroup, *requests: ComputeForward) -> tuple[ScriptedChannel, RankServer]:
    channel: Any = ScriptedChannel(*requests)
    denoisers: Any = {"one": FakeDenoiser()}
    server = RankServer(channel, torch.device("cpu"), -1, denoisers)
    server._met = met  # type: ignore[assignment]
    return channel, server


def forward() -> ComputeForward:
    return ComputeForward(model="one", arguments=describe({}, []), degree=1, answers=True)


def test_a_rank_survives_a_forward_that_fails():
    channel, server = served(ScriptedProcessGroup(POISON, 2.0), forward(), forward())
    server.serve()
    failed, done = channel.answers
    assert isinstance(failed, RankFailed)
    assert not failed.lost
    assert isinstance(done, RankDone)


@pytest.mark.parametrize("broken", ["receive", "send"])
def test_a_rank_whose_tensors_are_stuck_halfway_ends(broken: str):
    channel, server = served(ScriptedProcessGroup(2.0, 3.0, broken=broken), forward(), forward())
    with pytest.raises(Ended, match=str(rank_server.EXIT_CODE)):
        server.serve()
    assert channel.answers[-1].lost
