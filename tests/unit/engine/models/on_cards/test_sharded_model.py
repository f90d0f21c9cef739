"""A model whose transformer is spread over two cards: the images of one card, and half of the weights on each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.devices import devices
from imageserver.engine.models import warmup
from imageserver.engine.models.probe_calls import probe_call
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.preloaded.forked_rank import forked_ranks
from tests.support.tiny_loras import save_lokr, save_lora
from tests.support.tiny_models import save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool

# The tests share two ranks, which would be started in each process of pytest.
pytestmark = pytest.mark.xdist_group("ranks")

GUIDED = generation(
    "a blue house in the snow", negative_prompt="blurry", width=128, height=128, steps=3, true_cfg_scale=4.0, seed=2
)
PLAIN = replace(GUIDED, prompt="a green star", true_cfg_scale=1.0, seed=3)


class Spread:
    """The tiny model on two CPU ranks that hold a half each, and on one card in the same process."""

    def __init__(self, place: Path) -> None:
        self.settings = settings = Settings(
            _env_file=None, model=str(save_tiny_qwen_image(place / "qwen")), device="cpu", state_dir=place / "state",
            lora_dir=place / "loras", max_pixels=256 * 256, max_batch=4, memory="tensor-parallel",
        )  # fmt: skip
        self.group = CardGroup(("cpu", "cpu"), settings)
        self.together = TinyPool(settings, group=self.group)
        self.alone = TinyPool(settings.model_copy(update={"memory": "full", "max_batch": 1}))
        own = self.alone.pool.served_model(self.alone.names[-1]).runner._own
        save_lora(place / "loras", "red", own)
        save_lokr(place / "loras", "LoKr", own.transformer)
        self.loras = LoraFolder(place / "loras")
        self.lora = self.named("red")

    def named(self, lora: str) -> Lora:
        return Lora(name=lora, digest=self.loras.find(lora).digest)

    def model(self, pool: TinyPool) -> Any:
        return pool.pool.served_model(pool.names[-1])

    def difference(self, *wanted: Generation) -> int:
        """Return the largest difference to the images that one card generates one by one."""
        together = self.together.generate(*wanted)
        alone = [self.alone.generate(one)[0] for one in wanted]
        pixels = [[np.frombuffer(raw, np.uint8).astype(int) for raw in images] for images in (together, alone)]
        return max(int(np.abs(one - other).max()) for one, other in zip(*pixels, strict=True))


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    """Two ranks for all tests of the file."""
    threads = torch.get_num_threads()
    with forked_ranks():
        spread = Spread(tmp_path_factory.mktemp("spread"))
        yield spread
        spread.group.close()
    torch.set_num_threads(threads)


def test_images_are_those_of_one_card(spread: Spread):
    assert spread.difference(GUIDED, PLAIN, replace(PLAIN, seed=9, prompt="a moon")) <= 1
    exact = replace(GUIDED, deterministic=True)
    assert spread.together.generate(exact) == spread.together.generate(exact)


def test_a_forward_differs_by_less_than_5e_5(spread: Spread):
    alone, together = spread.model(spread.alone), spread.model(spread.together)
    for model in (alone, together):
        model.adapters.use(())
    call = probe_call(alone.runner, 256)
    assert float((together.forward(**call)[0] - alone.forward(**call)[0]).abs().max()) <= 5e-5


def test_a_card_holds_about_half_of_the_transformer(spread: Spread):
    [whole, part] = [
        sum(each.numel() for each in spread.model(pool).runner.denoiser.parameters())
        for pool in (spread.alone, spread.together)
    ]
    assert part < 0.55 * whole


def test_info_says_how_the_model_is_spread(spread: Spread):
    [info], [alone] = spread.together.pool.loaded, spread.alone.pool.loaded
    assert (info.device.memory_plan, info.device.cards) == ("tensor-parallel", ("cpu", "cpu"))
    assert info.device.cards_reason.startswith("cpu and cpu each hold a part of the transformer")
    assert info.parameters == alone.parameters


def test_a_lora_reaches_every_part_and_leaves_no_trace(spread: Spread):
    [before] = spread.together.generate(PLAIN)
    with_lora = replace(PLAIN, loras=(spread.lora,))
    assert spread.together.generate(with_lora) != [before]
    assert spread.difference(with_lora) <= 1
    assert spread.together.generate(PLAIN) == [before]


def test_a_lokr_is_refused_with_what_to_do_and_the_engine_goes_on(spread: Spread):
    """peft would compute its change in the shape of one card's part, in the middle of a forward of all cards."""
    [before] = spread.together.generate(PLAIN)
    spread.together.sent.clear()
    spread.together.add(0, replace(PLAIN, loras=(spread.named("LoKr"),)))
    spread.together.run()
    [(failure, _)] = spread.together.wait_for(Failed)
    assert "it is a LoKr, and the weights of the layer transformer_blocks.0.attn.to_q are divided" in failure.sentence
    assert "(MEMORY=tensor-parallel); serve the model with another MEMORY, or convert the file to" in failure.sentence
    assert spread.together.generate(PLAIN) == [before]


def test_a_lora_that_is_loaded_and_not_used_leaves_the_cards_in_step(spread: Spread):
    model, digest = spread.model(spread.together), "a" * 64
    model.runner.denoiser.add_adapter(LoraConfig(r=2, target_modules=["img_mlp.net.2"]), adapter_name=digest)
    model.runner.denoiser.disable_lora()
    assert spread.difference(PLAIN) <= 1


def test_a_cancelled_image_leaves_the_cards_in_step(spread: Spread):
    spread.together.sent.clear()
    spread.together.add(0, GUIDED)
    spread.together.pool.step_scheduler.step()
    spread.together.pool.step_scheduler.cancel(0)
    assert spread.together.of(Failed)
    assert spread.difference(PLAIN) <= 1


def test_on_cards_the_largest_image_is_tried_while_the_model_is_loaded(spread: Spread, monkeypatch: pytest.MonkeyPatch):
    """Its memory may run out: under a client's request that would end the engine, again and again.

    A batch is not tried: a model that serves single images is not refused because larger calls would fail.
    """
    served, [info] = spread.model(spread.together), spread.together.pool.loaded
    loaded: Any = SimpleNamespace(family=SimpleNamespace(merger=served.merger), info=info)
    tried: list[Any] = []
    monkeypatch.setattr(devices, "is_accelerator", lambda device: True)
    warmup._caps(spread.settings, loaded, served.runner, lambda **call: tried.append(call), torch.device("cpu"))
    [call] = tried
    assert served.merger.batch_size(call) == 1 < spread.settings.max_batch
    assert call["img_shapes"][0] == probe_call(served.runner, 256)["img_shapes"][0]
