"""Ranks that hold a part of a denoiser each compute what one card computes, and none of them holds more."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import nn

from imageserver.engine.card_group.sharding.gathering import must_gather, set_gathering
from imageserver.engine.card_group.sharding.sharded_denoiser import sharded_layers
from imageserver.engine.families import FAMILIES
from imageserver.engine.families.family import Family
from imageserver.engine.models.probe_calls import suspended_call
from imageserver.engine.models.weight_files import sharded_weights
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from tests.support.full_mode import needs_full_mode
from tests.support.rank_threads import RankThreads
from tests.support.tiny_families import TINY_MODELS

CPU = torch.device("cpu")
# Those whose denoisers differ most: feed-forwards of both known kinds, none, experts, convolutions.
EVERY_RUN = {"qwen-image", "stable-diffusion", "hidream-i1", "flux", "z-image"}
CHECKED = [
    pytest.param(family, id=family.name, marks=() if family.name in EVERY_RUN else needs_full_mode)
    for family in FAMILIES
]


class Whole:
    """A tiny model on the disk, one call of its denoiser, and the result of one card."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.name, self.folder = family.denoiser, folder
        pipeline = TINY_MODELS[family.name]()
        family.customize(pipeline)
        self.denoiser = getattr(pipeline, self.name)
        self.denoiser.save_pretrained(folder / self.name)
        index = {self.name: ["diffusers", type(self.denoiser).__name__]}
        (folder / "model_index.json").write_text(json.dumps(index))
        gate = Gate(self.denoiser)
        with suspended_call(PipelineRunner(pipeline, family), 64) as call:
            self.call = dict(call)
        gate.remove()
        self.result = self.compute(self.denoiser)

    def compute(self, denoiser: Any) -> torch.Tensor:
        with torch.no_grad():
            output = denoiser(**self.call)[0]
        return output if isinstance(output, torch.Tensor) else torch.stack(list(output))

    def part(self, rank: int, ranks: int) -> Any:
        return sharded_weights.load(self.folder, self.name, torch.float32, CPU, rank, ranks)

    def difference(self, denoisers: list[Any], ranks: RankThreads) -> float:
        """Return the largest difference to one card; every rank must have the same, as rank 0 decides."""
        gathers = must_gather(denoisers[0])
        for denoiser in denoisers:
            set_gathering(denoiser, gathers)
        results = ranks.run(lambda rank: self.compute(denoisers[rank]))
        assert all(torch.equal(result, results[0]) for result in results)
        return float((results[0] - self.result).abs().max())


def held_bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


@pytest.mark.parametrize("family", CHECKED)
def test_two_ranks_compute_what_one_computes(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, ranks = Whole(family, tmp_path), RankThreads(2, monkeypatch)
    parts = [whole.part(rank, 2) for rank in range(2)]
    assert whole.difference(parts, ranks) <= 5e-5
    assert ranks.gathered > 0


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(next(family for family in FAMILIES if family.name == "qwen-image"), tmp_path_factory.mktemp("qwen"))


@pytest.mark.parametrize("count", [2, 3])
def test_a_rank_holds_its_share_and_what_is_small(count: int, qwen: Whole, monkeypatch: pytest.MonkeyPatch):
    whole = qwen
    parts = [whole.part(rank, count) for rank in range(count)]
    linear = sum(held_bytes(layer) for layer in whole.denoiser.modules() if type(layer) is nn.Linear)
    small = held_bytes(whole.denoiser) - linear
    for part in parts:
        assert held_bytes(part) <= 1.05 * linear / count + small
        elsewhere = sum(layer.elements_elsewhere for layer in sharded_layers(part))
        assert held_bytes(part) + 4 * elsewhere == held_bytes(whole.denoiser)
    assert whole.difference(parts, RankThreads(count, monkeypatch)) <= 5e-5


def add_lora(denoiser: Any) -> Any:
    """Put the same random LoRA beside layers of every kind."""
    denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "img_mod.1", "img_mlp.net.2"]))
    # Its own generator: the ranks are threads of one process.
    generator = torch.Generator().manual_seed(1)
    for name, parameter in denoiser.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        elif "lora_A" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return denoiser


def test_a_lora_changes_what_ranks_compute_as_on_one_card(qwen: Whole, monkeypatch: pytest.MonkeyPatch):
    ranks = RankThreads(2, monkeypatch)
    parts = [qwen.part(rank, 2) for rank in range(2)]
    with_lora = qwen.compute(add_lora(copy.deepcopy(qwen.denoiser)))
    assert float((with_lora - qwen.result).abs().max()) > 0.01
    [result, _] = ranks.run(lambda rank: qwen.compute(add_lora(parts[rank])))
    assert float((result - with_lora).abs().max()) <= 5e-5


def test_a_feed_forward_is_added_once_and_gathered_only_beside_a_lora(qwen: Whole, monkeypatch: pytest.MonkeyPatch):
    ranks = RankThreads(2, monkeypatch)
    parts = [qwen.part(rank, 2) for rank in range(2)]
    qwen.difference(parts, ranks)
    gathered, feed_forwards = ranks.gathered, ranks.added
    assert feed_forwards == 2 * len(qwen.denoiser.transformer_blocks)
    for part in parts:
        part.add_adapter(LoraConfig(r=2, target_modules=["img_mlp.net.2"]))
    ranks.gathered = ranks.added = 0
    qwen.difference(parts, ranks)
    assert (ranks.gathered, ranks.added) == (gathered + feed_forwards, feed_forwards)


def test_a_lora_that_rank_0_has_loaded_and_does_not_use_leaves_the_ranks_in_step(
    qwen: Whole, monkeypatch: pytest.MonkeyPatch
):
    parts = [qwen.part(rank, 2) for rank in range(2)]
    parts[0].add_adapter(LoraConfig(r=2, target_modules=["img_mlp.net.2"]), adapter_name="unused")
    parts[0].set_adapters(["unused"], [0.0])
    assert qwen.difference(parts, RankThreads(2, monkeypatch)) <= 5e-5
