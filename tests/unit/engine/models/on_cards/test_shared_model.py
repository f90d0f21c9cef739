"""A model on two cards: the images of one card, LoRAs and all, also when a card is lost on the way."""

import os
import queue
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.context_parallel import heads_of
from imageserver.engine.models.on_cards import shared_model
from imageserver.engine.models.on_cards.shared_model import SharedModel
from imageserver.engine.models.probe_calls import probe_call
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, GroupUse
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.fake_denoiser import FakeDenoiser, FakeMerger
from tests.support.preloaded.forked_rank import forked_ranks
from tests.support.tiny_loras import save_lokr, save_lora
from tests.support.tiny_models import save_tiny_qwen_image, tiny_qwen_image
from tests.support.tiny_pool import TinyPool

# The tests share two ranks, which would be started in each process of pytest.
pytestmark = pytest.mark.xdist_group("ranks")

GUIDED = generation(
    "a blue house in the snow", negative_prompt="blurry", width=128, height=128, steps=4, true_cfg_scale=4.0, seed=2
)
PLAIN = replace(GUIDED, prompt="a green star", true_cfg_scale=1.0, seed=3, steps=5)


class TwoCards:
    """The tiny model on two CPU ranks, and on one card in the same process."""

    def __init__(self, place: Path) -> None:
        self.loras = LoraFolder(place / "loras")
        settings = Settings(
            _env_file=None, model=str(save_tiny_qwen_image(place / "qwen")), device="cpu", state_dir=place / "state",
            lora_dir=place / "loras", max_pixels=256 * 256, max_batch=4,
        )  # fmt: skip
        self.started: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.group = CardGroup(("cpu", "cpu"), settings, self.started.put)
        self.together = TinyPool(settings, group=self.group)
        self.alone = TinyPool(settings)
        own = self.alone.pool.served_model(self.alone.names[-1]).runner._own
        save_lora(place / "loras", "red", own)
        for name, rank in (("LoKr", 0), ("LoKr of low rank", 2)):
            save_lokr(place / "loras", name, own.transformer, rank=rank)

    @property
    def cards(self) -> Any:
        return self.together.pool.served_model(self.together.names[-1]).cards

    def forwards(self, *wanted: Generation) -> int:
        """Return how many forwards images take on two cards."""
        before = self.together.pool.step_scheduler.forwards
        self.together.generate(*wanted)
        return self.together.pool.step_scheduler.forwards - before

    def difference(self, *wanted: Generation) -> int:
        """Return the largest difference to the images that one card generates one by one."""
        together = self.together.generate(*wanted)
        alone = [self.alone.generate(one)[0] for one in wanted]
        return max(_difference(one, other) for one, other in zip(together, alone, strict=True))

    def lora(self, name: str) -> Lora:
        return Lora(name=name, digest=self.loras.find(name).digest)


def _difference(one: bytes, other: bytes) -> int:
    first, second = (np.frombuffer(raw, np.uint8).astype(int) for raw in (one, other))
    return int(np.abs(first - second).max())


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoCards]:
    """Two ranks for all tests of the file."""
    threads = torch.get_num_threads()
    with forked_ranks():
        cards = TwoCards(tmp_path_factory.mktemp("two"))
        yield cards
        cards.group.close()
    torch.set_num_threads(threads)


@pytest.fixture
def two(cards: TwoCards) -> Iterator[TwoCards]:
    """Two cards, again after a test has lost one, that share no tokens unless a test says so."""
    if cards.group.size == 1:
        cards.group.tend()
        cards.group.receive(cards.started.get(timeout=100))
    assert cards.group.size == 2
    measured, cards.cards.shared_from = cards.cards.shared_from, {}
    yield cards
    cards.cards.shared_from = measured


def test_a_guided_image_has_the_bits_of_one_card_and_needs_half_the_forwards(two: TwoCards):
    assert two.forwards(GUIDED) == GUIDED.steps
    # Two calls, each computed alone on its card, are those of the plain pipeline.
    exact = replace(GUIDED, deterministic=True)
    assert two.together.generate(GUIDED) == two.alone.generate(exact)


def test_a_deterministic_image_is_computed_on_one_card(two: TwoCards):
    exact = replace(GUIDED, deterministic=True)
    assert two.forwards(exact) == 2 * exact.steps
    assert two.together.generate(exact) == two.alone.generate(exact)


def test_images_that_share_forwards_on_two_cards_are_those_of_one(two: TwoCards):
    assert two.difference(GUIDED, PLAIN, replace(GUIDED, seed=8, prompt="a moon"), replace(PLAIN, seed=9)) <= 1


@pytest.mark.parametrize("name", ["red", "LoKr", "LoKr of low rank"])
def test_a_lora_reaches_every_card_and_leaves_no_trace(name: str, two: TwoCards):
    with_lora = replace(GUIDED, loras=(two.lora(name),))
    [before] = two.together.generate(GUIDED)
    [changed] = two.together.generate(with_lora)
    assert changed != before
    assert changed == two.alone.generate(replace(with_lora, deterministic=True))[0]
    half = replace(GUIDED, loras=(replace(two.lora(name), scale=0.5),))
    assert two.together.generate(half)[0] == two.alone.generate(replace(half, deterministic=True))[0]
    assert two.together.generate(GUIDED) == [before]
    assert two.group.size == 2, "no card died of it"
    two.together.pool.adapters_of(two.together.names[-1]).unload(name)  # type: ignore[union-attr]
    assert two.together.generate(GUIDED) == [before]


def test_one_call_on_two_cards_gives_the_image_of_one(two: TwoCards):
    two.cards.shared_from = {2: 0}
    assert two.difference(PLAIN) <= 1
    assert two.group.size == 2


def test_a_call_on_two_cards_differs_by_less_than_5e_5_and_undoes_its_hooks(two: TwoCards):
    model = two.together.pool.served_model(two.together.names[-1])
    call = probe_call(model.runner, 256)
    [before] = model.forward(**call)
    two.cards.shared_from = {2: 0}
    [(shared,)], warning = two.cards.compute([call])
    assert warning == ""
    assert 0 < float((shared - before).abs().max()) <= 5e-5
    assert torch.equal(model.forward(**call)[0], before)


def test_a_cancelled_image_leaves_the_cards_in_step(two: TwoCards):
    two.together.sent.clear()
    two.together.add(0, GUIDED)
    two.together.pool.step_scheduler.step()
    two.together.pool.step_scheduler.cancel(0)
    assert two.together.of(Failed)
    assert two.difference(PLAIN) <= 1


def test_a_short_image_overtakes_a_long_one_and_both_are_those_of_one_card(
    two: TwoCards, monkeypatch: pytest.MonkeyPatch
):
    model = two.together.pool.served_model(two.together.names[-1])
    # One image in a forward, a call on each card: the second can only end first if it interrupts the first one.
    monkeypatch.setattr(model, "cap_of", lambda pixels: 2)
    long, short = replace(GUIDED, steps=12), replace(GUIDED, steps=2, seed=7)
    two.together.sent.clear()
    two.together.add(0, long)
    for _ in range(3):
        two.together.pool.step_scheduler.step()
    two.together.add(1, short)
    two.together.run()
    ends = two.together.wait_for(Finished, 2)
    assert [message.job for message, _ in ends] == [1, 0]
    alone = [two.alone.generate(replace(wanted, deterministic=True))[0] for wanted in (short, long)]
    assert [raw for _, raw in ends] == alone


def test_calls_that_share_forwards_on_two_cards_differ_by_at_most_1e_5(two: TwoCards):
    model = two.together.pool.served_model(two.together.names[-1])
    call = probe_call(model.runner, 128)
    calls = [call | {"hidden_states": call["hidden_states"] * scale} for scale in (1.0, 0.7, 0.4, 0.1)]
    together, warning = two.cards.compute(calls)
    assert warning == ""
    differences = [
        float((model.forward(**one)[0] - output).abs().max()) for one, (output,) in zip(calls, together, strict=True)
    ]
    assert max(differences) <= 1e-5
    assert float((together[0][0] - together[3][0]).abs().max()) > 1e-3, "each is that of its own call"


def opened(denoiser: Any, **group: Any) -> SharedModel:
    """A model whose denoiser is opened on such a group of cards."""
    cards: Any = SimpleNamespace(load=lambda _: None, complete=lambda _: True, **group)
    settings = SimpleNamespace(transformer_file=None, compile=False, max_pixels=512 * 512)
    found: Any = SimpleNamespace(
        name="one", settings=settings, folder=Path(), dtype=torch.float32, checkpoint=None
    )  # fmt: skip
    model: Any = SimpleNamespace(
        pipeline=SimpleNamespace(transformer=denoiser),
        family=SimpleNamespace(denoiser="transformer", merger=FakeMerger()),
        info=SimpleNamespace(device=SimpleNamespace(memory_plan="full")),
    )
    shared, unused = SharedModel(cards, found, model), cast(Any, None)
    assert shared.open(unused, unused, unused) is not None
    return shared


def test_a_model_that_is_opened_while_one_card_computes_says_what_comes_back():
    shared = opened(FakeDenoiser(), size=1, devices=("cuda:0",), in_use=("cuda:0",), loss="a card is lost")
    assert shared.reason.startswith("cuda:0 computes alone: a card is lost. Once the other cards are back,")


def test_cards_of_a_model_that_diffusers_cannot_split_say_that_they_share_no_call():
    shared = opened(FakeDenoiser(), size=2, in_use=("cuda:0", "cuda:1"))
    assert shared.reason == (
        "The calls of a step are computed on different cards: cuda:0 and cuda:1. diffusers cannot split a call of this "
        "model."
    )


def test_cards_that_cannot_divide_the_heads_of_a_model_are_not_tried_on_one_call(monkeypatch: pytest.MonkeyPatch):
    denoiser, tried = tiny_qwen_image().transformer, []

    def measure(cards: Any, degrees: Sequence[int], *_: Any) -> dict[int, int]:
        tried.extend(degrees)
        return {2: 512}

    monkeypatch.setattr(shared_model, "measure", measure)
    assert heads_of(denoiser) == {2}
    shared = opened(denoiser, size=4, in_use=("cuda:0", "cuda:1", "cuda:2", "cuda:3"))
    assert tried == [2]
    assert shared.reason.endswith(
        " 2 cards compute one call together from 512x512 pixels on. 4 cards cannot divide its 2 attention heads."
    )


def test_info_says_what_the_cards_do(two: TwoCards):
    [info] = two.together.pool.loaded
    assert info.device.cards == ("cpu", "cpu")
    assert info.device.cards_reason.startswith("The calls of a step are computed on different cards: cpu and cpu.")
    assert two.together.pool.usage().group == GroupUse(cards=2, lost=two.group.losses, reason="")


@pytest.mark.parametrize("sharing", [{}, {2: 0}], ids=["calls", "tokens"])
def test_an_image_whose_card_dies_is_the_image_of_one_card_and_says_so(two: TwoCards, sharing: dict[int, int]):
    wanted = PLAIN if sharing else GUIDED
    two.cards.shared_from = sharing
    two.together.sent.clear()
    two.together.add(0, wanted)
    two.together.pool.step_scheduler.step()
    os.kill(two.group.processes[0].pid, signal.SIGKILL)
    two.together.run()
    [(finished, raw)] = two.together.wait_for(Finished | Failed)
    assert any("card of the group was lost" in warning for warning in finished.outcome.warnings)
    assert _difference(raw, two.alone.generate(wanted)[0]) <= 1
    group = two.together.pool.usage().group
    assert group is not None
    # Its end is noticed first, or that it reads nothing more.
    assert (group.cards, group.reason) in [(1, "card cpu has lost its process"), (1, "card cpu accepts nothing")]
