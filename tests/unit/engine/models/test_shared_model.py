"""A model on two cards: the images of one card, LoRAs and all, also when a card is lost on the way."""

import os
import queue
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.models.probe_calls import probe_call
from imageserver.engine.models.shared_model import SharedModel
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, GroupUse
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.fake_denoiser import FakeDenoiser, FakeMerger
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool

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
        save_lora(place / "loras", "red", self.alone.pool.served_model(self.alone.names[-1]).runner._own)

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
    """Two ranks for all tests of the file: a rank takes seconds to start."""
    threads = torch.get_num_threads()
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


def test_a_lora_reaches_every_card_and_leaves_no_trace(two: TwoCards):
    with_lora = replace(GUIDED, loras=(two.lora("red"),))
    [before] = two.together.generate(GUIDED)
    [changed] = two.together.generate(with_lora)
    assert changed != before
    assert changed == two.alone.generate(replace(with_lora, deterministic=True))[0]
    half = replace(GUIDED, loras=(replace(two.lora("red"), scale=0.5),))
    assert two.together.generate(half)[0] == two.alone.generate(replace(half, deterministic=True))[0]
    assert two.together.generate(GUIDED) == [before]
    two.together.pool.adapters_of(two.together.names[-1]).unload("red")  # type: ignore[union-attr]
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


def test_a_model_that_is_opened_while_one_card_computes_says_what_comes_back():
    group: Any = SimpleNamespace(
        size=1, devices=("cuda:0",), in_use=("cuda:0",), loss="a card is lost", load=lambda _: None,
        complete=lambda _: True,
    )  # fmt: skip
    settings = SimpleNamespace(transformer_file=None, compile=False)
    found: Any = SimpleNamespace(
        name="one", settings=settings, folder=Path(), dtype=torch.float32, checkpoint=None
    )  # fmt: skip
    model: Any = SimpleNamespace(
        pipeline=SimpleNamespace(transformer=FakeDenoiser()),
        family=SimpleNamespace(denoiser="transformer", merger=FakeMerger()),
        info=SimpleNamespace(device=SimpleNamespace(memory_plan="full")),
    )
    shared, unused = SharedModel(group, found, model), cast(Any, None)
    assert shared.open(unused, unused, unused) is not None
    assert shared.reason.startswith("cuda:0 computes alone: a card is lost. Once the other cards are back,")


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
