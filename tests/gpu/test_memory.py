"""The memory of a card: what unloading gives back, what offloading leaves on it, and what happens when it runs out."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imageserver.engine.devices import devices
from imageserver.protocol.messages import Failed, Finished
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_pool import TinyPool

pytestmark = pytest.mark.gpu

# Less than the image of 4096 x 4096 takes while it is turned into bytes.
HEADROOM_BYTES = 128 * devices.MIB


def open_pool(model: Path, device: str, state: Path, **changes: Any) -> TinyPool:
    changes = {"max_pixels": 512 * 512} | changes
    return TinyPool(Settings(_env_file=None, model=str(model), device=device, state_dir=state, **changes))


def test_unloading_gives_back_what_loading_took(card: str, tiny_model: Path, tmp_path: Path) -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    opened = open_pool(tiny_model, card, tmp_path)
    opened.generate(generation())
    loaded = torch.cuda.memory_allocated()
    opened.pool.unload(str(tiny_model))
    opened.sent.clear()
    # Workspaces of the libraries stay.
    assert torch.cuda.memory_allocated() - before < 0.1 * (loaded - before)


@pytest.mark.parametrize("memory", ["encoder-offload", "model-offload", "group-offload", "sequential-offload"])
def test_offloaded_weights_generate_the_second_image_like_the_first(
    device: str, tiny_model: Path, tmp_path: Path, memory: str
) -> None:
    opened = open_pool(tiny_model, device, tmp_path, memory=memory if device == "cuda" else "full")
    first, other, again = (
        opened.generate(generation(prompt, deterministic=True)) for prompt in ("a cat", "a big red circle", "a cat")
    )
    assert first == again != other


def test_after_the_start_an_offloaded_model_leaves_the_card_to_the_first_prompt(
    card: str, tiny_model: Path, tmp_path: Path
) -> None:
    opened = open_pool(tiny_model, card, tmp_path, memory="model-offload")
    transformer = opened.pool.served_model(str(tiny_model)).runner._own.transformer
    assert {parameter.device.type for parameter in transformer.parameters()} == {"cpu"}
    opened.generate(generation("a prompt that nobody has encoded yet"))


@pytest.fixture
def cramped(device: str, tiny_model: Path, tmp_path: Path) -> Iterator[TinyPool]:
    """A pool that may take little more than its model, on a card."""
    opened = open_pool(tiny_model, device, tmp_path, max_pixels=4096 * 4096, max_batch=1)
    if device != "cuda":
        yield opened
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + HEADROOM_BYTES) / total)
    yield opened
    torch.cuda.set_per_process_memory_fraction(1.0)


def ask(opened: TinyPool, side: int) -> Finished | Failed:
    opened.sent.clear()
    opened.add(1, generation(width=side, height=side, steps=1, true_cfg_scale=1.0))
    opened.run()
    [(end, _)] = opened.wait_for(Finished | Failed)
    answer: Finished | Failed = end
    return answer


def test_a_card_that_is_full_decodes_in_tiles_then_refuses_and_generates_the_next_image(
    cramped: TinyPool, device: str
) -> None:
    ends = [ask(cramped, side) for side in ((256, 1024, 2048, 4096) if device == "cuda" else (64, 128))]
    refused = [end for end in ends if isinstance(end, Failed)]
    assert {end.code for end in refused} <= {"out_of_memory"}
    if device == "cuda":
        assert refused, "it was given too much memory"
        tiled = [end for end in ends if isinstance(end, Finished) and "tiles" in " ".join(end.outcome.warnings)]
        assert tiled, "no size fitted in tiles only"
    assert isinstance(ask(cramped, 64), Finished)
