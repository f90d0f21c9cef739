"""Which failure of several ranks is a lost card, and which one ends the sharing of tokens."""

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine.card_group import group_forward
from imageserver.engine.card_group.group_forward import GroupForward
from imageserver.engine.card_group.messages import RankDone, RankFailed
from imageserver.engine.card_group.rank_process import CardLost
from imageserver.engine.device_errors import is_out_of_memory
from tests.support.fake_denoiser import FakeDenoiser, FakeMerger

BROKEN_OFF = RankFailed(sentence="connection closed by peer")
DEAD = "card 3 has lost its process"


class ScriptedRank:
    """A rank that answers, and is gone then if it has a loss."""

    def __init__(self, device: str, *answers: RankDone | RankFailed, loss: str = "") -> None:
        self.device = device
        self.answers = list(answers)
        self.loss = loss

    def send(self, *_: Any) -> None:
        """Accept it."""

    def answer(self) -> RankDone | RankFailed:
        if not self.answers:
            raise CardLost(self.loss)
        return self.answers.pop(0)

    def is_lost_within(self, seconds: float) -> bool:
        return bool(self.loss)


class ScriptedGroup:
    """Rank 0 and such ranks."""

    devices = ("0",)
    process_group = SimpleNamespace(device=torch.device("cpu"), send=lambda *_: None)

    def __init__(self, processes: Sequence[ScriptedRank]) -> None:
        self.processes = processes
        self.size = 1 + len(processes)
        self.loss = ""

    def break_up(self, reason: str) -> None:
        self.loss = reason


def compute(*processes: ScriptedRank, fails: bool, shared_from: dict[int, int]) -> tuple[ScriptedGroup, GroupForward]:
    """Compute two calls, in which rank 0's own part may fail the first time."""
    group: Any = ScriptedGroup(processes)
    copies: Any = SimpleNamespace(forget=lambda: None, send=lambda ranks: None)
    denoiser = FakeDenoiser()

    def among_others(**arguments: Any) -> Any:
        if fails:
            raise RuntimeError("connection closed by peer")
        return denoiser.forward(**arguments)

    own: Any = among_others
    cards = GroupForward(group, "one", own, denoiser.forward, FakeMerger(), copies)
    cards.shared_from = dict(shared_from)
    call = {"hidden_states": torch.ones(1, 1), "timestep": torch.zeros(1), "text": torch.ones(1, 1)}
    outputs, _ = cards.compute([call, call])
    assert [float(output[0]) for output in outputs] == [2.0, 2.0]
    return group, cards


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_forward, "sharing_tokens", lambda *_: contextlib.nullcontext())


def test_the_loss_of_a_rank_beside_the_one_that_answers_does_not_end_sharing():
    ranks = ScriptedRank("1", RankDone()), ScriptedRank("2", BROKEN_OFF, loss="ended"), ScriptedRank("3", loss=DEAD)
    group, cards = compute(*ranks, fails=False, shared_from={2: 0})
    assert (group.loss, cards.shared_from) == (DEAD, {2: 0})


def test_the_loss_of_the_last_rank_explains_the_failures_of_all_others():
    ranks = (
        ScriptedRank("1", BROKEN_OFF, loss="ended"),
        ScriptedRank("2", RankDone(), BROKEN_OFF, loss="ended"),
        ScriptedRank("3", RankDone(), loss=DEAD),
    )
    group, cards = compute(*ranks, fails=True, shared_from={2: 0})
    assert (group.loss, cards.shared_from) == (DEAD, {2: 0})


@pytest.mark.parametrize("fails", [True, False])
def test_ranks_that_fail_without_a_loss_share_no_more(fails: bool):
    failed = ScriptedRank("1", RankFailed(sentence="no such kernel"), loss="ended")
    group, cards = compute(failed, ScriptedRank("2"), ScriptedRank("3"), fails=fails, shared_from={2: 0})
    assert (group.loss, cards.shared_from) == ("card 1: no such kernel", {})


def test_memory_that_runs_out_on_another_card_is_known_as_such():
    failed = ScriptedRank("1", RankFailed(sentence="MemoryError", out_of_memory=True))
    with pytest.raises(RuntimeError) as raised:
        compute(failed, fails=False, shared_from={})
    assert is_out_of_memory(raised.value)
