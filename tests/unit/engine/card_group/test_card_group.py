"""What happens to a group of cards whose other rank fails, dies or falls silent: no forward is lost."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch

from imageserver.engine.card_group import card_group, rank_process
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.group_forward import GroupForward
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import LoadDenoiser
from imageserver.engine.card_group.sharding.sharded_forward import ShardedForward
from imageserver.engine.device_errors import DeviceLost
from imageserver.errors import GenerationFailed
from imageserver.settings import Settings
from tests.support.fake_denoiser import POISON, FakeDenoiser, FakeMerger
from tests.support.fake_denoisers import BROKEN, LOST, SLOW, TOO_LARGE, SpreadDenoiser
from tests.support.full_mode import needs_full_mode
from tests.support.preloaded.forked_rank import forked_ranks

# The tests share one pair, which would be started in each process of pytest.
pytestmark = pytest.mark.xdist_group("ranks")

SILENT_SECONDS = 1.0


class NoAdapters:
    """A model without LoRAs."""

    attached: tuple[str, ...] = ()
    in_use: tuple[tuple[str, float], ...] = ()


class RowedMerger(FakeMerger):
    """Takes a call of several rows apart."""

    def rows(self, call: Any) -> list[Any]:
        return [{name: tensor[row : row + 1] for name, tensor in call.items()} for row in range(self.batch_size(call))]


class Pair:
    """Two ranks with the denoiser of one addition; `own` are the texts that rank 0 has computed itself."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.group = CardGroup(
            ("cpu", "cpu"), Settings(_env_file=None), self._receive_later, silent_seconds=SILENT_SECONDS
        )
        self.load("one")
        self.forward = self.open("one")
        self.own: list[float] = []
        self.started_again: Any = None

    def _receive_later(self, ready: Any) -> None:
        self.started_again = ready
        self.ready.set()

    def load(self, model: str, parts: int = 1) -> bool:
        self.group.load(
            LoadDenoiser(
                model=model,
                denoiser="",
                folder="",
                dtype="float32",
                memory_plan="full",
                transformer_file=None,
                parts=parts,
            )
        )
        return self.group.complete(model)

    def open(self, model: str) -> GroupForward:
        denoiser = FakeDenoiser()

        def forward(**arguments: Any) -> Any:
            self.own += arguments["text"].flatten().tolist()
            return denoiser(**arguments)

        return GroupForward(
            self.group, model, denoiser, forward, RowedMerger(), LoraCopies(model, denoiser, NoAdapters())
        )

    def compute(self, *texts: float) -> tuple[list[float], str]:
        self.own.clear()
        calls = [
            {"hidden_states": torch.ones(1, 1), "timestep": torch.zeros(1), "text": torch.full((1, 1), text)}
            for text in texts
        ]
        outputs, warning = self.forward.compute(calls)
        return [float(output[0]) for output in outputs], warning

    @property
    def pid(self) -> int:
        [rank] = self.group.processes
        return rank.pid

    def start_again(self) -> None:
        """Let the group be complete again, as an idle engine does."""
        while self.group.process_group is not None:
            self.group.tend()
            time.sleep(0.01)
        self.ready.clear()
        self.group.tend()

    def complete(self) -> None:
        assert self.ready.wait(100)
        self.group.receive(self.started_again)


@pytest.fixture(scope="module")
def ranks() -> Iterator[Pair]:
    """One pair for all tests of the file."""
    threads = torch.get_num_threads()
    with forked_ranks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_process, "RANK_MODULE", "tests.support.fake_rank")
        pair = Pair()
        yield pair
        pair.group.close()
    torch.set_num_threads(threads)


@pytest.fixture
def pair(ranks: Pair) -> Pair:
    """The pair, complete again."""
    if ranks.group.size == 1:
        ranks.start_again()
        ranks.complete()
        # A loss before any success would be followed by a pause.
        ranks.compute(2.0, 3.0)
    assert ranks.group.size == 2
    return ranks


def test_two_calls_are_computed_by_two_ranks_and_one_by_rank_0(pair: Pair):
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")
    assert len(pair.own) == 1
    assert pair.compute(5.0) == ([6.0], "")
    assert pair.own == [5.0]


def test_the_rows_of_one_call_are_computed_by_two_ranks(pair: Pair):
    pair.own.clear()
    call = {"hidden_states": torch.ones(2, 1), "timestep": torch.zeros(2), "text": torch.tensor([[2.0], [3.0]])}
    [(rows,)], warning = pair.forward.compute([call])
    assert (rows.flatten().tolist(), warning) == ([3.0, 4.0], "")
    assert len(pair.own) == 1


def test_more_calls_than_ranks_share_forwards(pair: Pair):
    assert pair.compute(1.0, 2.0, 3.0, 4.0, 5.0) == ([2.0, 3.0, 4.0, 5.0, 6.0], "")
    assert len(pair.own) == 2


@pytest.mark.parametrize("texts", [(POISON, 1.0), (1.0, POISON)])
def test_an_error_of_one_rank_is_raised_and_the_group_goes_on(pair: Pair, texts: tuple[float, float]):
    with pytest.raises(RuntimeError, match="poisoned"):
        pair.compute(*texts)
    assert pair.group.size == 2
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")


def test_a_row_that_another_card_cannot_compute_is_computed_by_rank_0(pair: Pair):
    call = {"hidden_states": torch.ones(2, 1), "timestep": torch.zeros(2), "text": torch.tensor([[2.0], [BROKEN]])}
    [(rows,)], warning = pair.forward.compute([call])
    assert (rows.flatten().tolist(), warning) == ([3.0, 1.0 + BROKEN], "")
    assert pair.group.size == 2
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")


def test_a_rank_whose_device_is_lost_in_a_forward_costs_no_result(pair: Pair):
    outputs, warning = pair.compute(2.0, LOST)
    assert outputs == [3.0, 1.0 + LOST]
    assert "was lost" in warning
    assert "illegal memory access" in pair.group.loss


def test_a_rank_that_dies_in_a_forward_costs_no_result(pair: Pair):
    [rank] = pair.group.processes
    noticed: list[bool] = []

    def kill() -> None:
        os.kill(rank.pid, signal.SIGKILL)
        noticed.append(rank.is_lost_within(SILENT_SECONDS / 2))

    killing = threading.Timer(0.5, kill)
    killing.start()
    outputs, warning = pair.compute(2.0, SLOW)
    killing.join()
    assert outputs == [3.0, 18.0]
    assert noticed == [True], "by its end, long before its silence"
    assert "was lost" in warning
    assert pair.group.size == 1
    assert "lost its process" in pair.group.loss


def test_a_rank_may_be_silent_for_ten_seconds():
    assert card_group.SILENT_SECONDS == 10.0


def test_a_rank_that_is_stopped_in_a_forward_costs_no_result(pair: Pair):
    stopped = pair.pid
    threading.Timer(0.1, os.kill, (stopped, signal.SIGSTOP)).start()
    outputs, warning = pair.compute(2.0, SLOW)
    assert outputs == [3.0, 18.0]
    assert "was lost" in warning
    assert "no sign of life" in pair.group.loss
    assert not psutil.pid_exists(stopped)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_lost_while_idle_is_started_again(pair: Pair, fault: signal.Signals):
    before = pair.pid
    os.kill(before, fault)
    pair.start_again()
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")
    assert pair.own == [2.0, 3.0]
    pair.complete()
    assert pair.pid != before
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")
    assert len(pair.own) == 1
    assert pair.group.loss == ""


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_lost_while_it_starts_leaves_the_engine_working(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, fault: signal.Signals
):
    # As an engine starts it, with imports that take seconds.
    monkeypatch.setattr(rank_process, "subprocess", subprocess)
    os.kill(pair.pid, signal.SIGKILL)
    pair.start_again()
    starting = pair.pid
    os.kill(starting, fault)
    pair.complete()
    assert not psutil.pid_exists(starting)
    assert pair.group.size == 1
    assert pair.group.loss
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")
    # Not at once again: a card may be broken for good.
    pair.group.tend()
    assert pair.group.processes == []
    pair.group._pause.ends = 0.0


def test_a_second_model_that_does_not_fit_another_card_is_not_shared(pair: Pair):
    assert not pair.load(TOO_LARGE)
    assert pair.group.size == 2
    assert pair.load("two")
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")


def test_the_ranks_are_reached_by_nobody_else(pair: Pair):
    for pid in (os.getpid(), pair.pid):
        listening = [each for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN]
        assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::1"}


@pytest.fixture
def spread(pair: Pair) -> Iterator[Any]:
    """A denoiser that the two ranks share, a part each."""
    assert pair.load("spread", parts=2)
    denoiser: Any = SpreadDenoiser(0)
    ShardedForward(pair.group, "spread", denoiser)
    yield denoiser
    pair.group.unload("spread")


def doubled(denoiser: Any, text: float) -> list[float]:
    [output] = denoiser.forward(hidden_states=torch.ones(1, 1), timestep=torch.zeros(1), text=torch.full((1, 1), text))
    return list(output.flatten().tolist())


def test_ranks_with_a_part_each_compute_every_call_together(pair: Pair, spread: Any):
    assert doubled(spread, 2.0) == [6.0, 6.0]
    assert pair.compute(2.0, 3.0) == ([3.0, 4.0], "")
    assert doubled(spread, 3.0) == [8.0, 8.0]


def test_an_argument_that_no_other_card_can_be_sent_fails_its_generation_alone(pair: Pair, spread: Any):
    with pytest.raises(GenerationFailed, match=r"spread is spread over several cards, and .* a Generator, which no"):
        spread.forward(hidden_states=torch.Generator())
    assert doubled(spread, 2.0) == [6.0, 6.0]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (signal.SIGKILL, "lost its process"),
        pytest.param(signal.SIGSTOP, "no sign of life", marks=needs_full_mode),
    ],
)
def test_a_rank_that_is_lost_with_its_part_ends_the_engine(pair: Pair, spread: Any, fault: signal.Signals, reason: str):
    pid = pair.pid
    threading.Timer(0.5, os.kill, (pid, fault)).start()
    with pytest.raises(DeviceLost, match=f"{reason}. No card has the whole transformer"):
        doubled(spread, SLOW)
    assert not psutil.pid_exists(pid)


@needs_full_mode
def test_an_error_of_a_rank_in_its_part_is_said_and_ends_the_engine(pair: Pair, spread: Any):
    with pytest.raises(DeviceLost, match="this card cannot"):
        doubled(spread, BROKEN)


@needs_full_mode
def test_a_rank_that_is_lost_while_idle_with_its_part_ends_the_engine(pair: Pair, spread: Any):
    [rank] = pair.group.processes
    os.kill(rank.pid, signal.SIGKILL)
    assert rank.is_lost_within(SILENT_SECONDS)
    with pytest.raises(DeviceLost, match="lost its process"):
        pair.group.tend()


def test_closing_a_group_leaves_nothing_behind(pair: Pair):
    pid = pair.pid
    pair.group.close()
    assert not psutil.pid_exists(pid)
    assert pair.group.size == 1
