"""The cache tiers skip work, leave no trace in exact images, and go away with their last user: every cache."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.caching import Calibration, QualityTiers, first_block, taylorseer
from imageserver.engine.caching.backend import CacheBackend
from imageserver.engine.caching.first_block import FirstBlock
from imageserver.engine.caching.mag_cache import MagCache
from imageserver.engine.caching.taylorseer import TaylorSeer
from imageserver.engine.families import QwenImage
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Source
from imageserver.protocol.messages import Finished, Message, Run
from tests.support.factories import generation
from tests.unit.engine.conftest import plain_pipe

# A model whose blocks add as much at the end as at the beginning.
LEVEL = Calibration((1.0, 0.0), (1.0, 1.0))
METHODS: dict[str, Callable[[], CacheBackend]] = {
    "taylorseer": TaylorSeer, "first_block": FirstBlock, "magcache": lambda: MagCache(LEVEL)
}  # fmt: skip
# Computed steps of ten, per pass: TaylorSeer whole 0-3, 5, 8; FirstBlockCache whole 0; MagCache whole 0-1, 4, 7.
WHOLE_OF_TEN = {"taylorseer": 6, "first_block": 1, "magcache": 4}


class TieredBench:
    """Turns with tiers over the tiny pipeline, counting how often its last block is computed."""

    def __init__(
        self, pipeline: QwenImagePipeline, gate: Gate, method: CacheBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sent: list[tuple[Message, bytes]] = []
        self.last_block = 0
        self.transformer = pipeline.transformer
        block = pipeline.transformer.transformer_blocks[-1].attn
        stock = block.forward

        def counted(*arguments: Any, **options: Any) -> Any:
            self.last_block += 1
            return stock(*arguments, **options)

        monkeypatch.setattr(block, "forward", counted)
        self.model = ServedModel(
            PipelineRunner(pipeline, QwenImage()), gate.forward, merger=QwenImage.merger, cap_of=lambda pixels: 8,
            tiers=QualityTiers(pipeline.transformer, gate.set_context, gate.forward, method),
        )  # fmt: skip
        self.turns = StepScheduler({"": self.model}, lambda *frame: self.sent.append(frame))

    def generate(self, *, source: bytes = b"", **jobs: Any) -> dict[str, bytes]:
        """Generate several jobs together and return their pixels by name."""
        names = dict(enumerate(jobs))
        for number, wanted in enumerate(jobs.values()):
            self.turns.add(Run(job=number, generation=wanted), source)
        while self.turns.busy:
            self.turns.step()
        done = {names[message.job]: raw for message, raw in self.sent if isinstance(message, Finished)}
        self.sent.clear()
        return done

    def generate_with_interruption(self, wanted: Any, neighbour: Any) -> tuple[bytes, bytes]:
        """Begin the wanted one, let the shorter neighbour overtake it, and return the pixels of both."""
        self.turns.add(Run(job=1, generation=wanted))
        for _ in range(13):
            self.turns.step()
        assert self.turns.busy
        self.turns.add(Run(job=2, generation=neighbour))
        while self.turns.busy:
            self.turns.step()
        done = {message.job: raw for message, raw in self.sent if isinstance(message, Finished)}
        assert list(done) == [2, 1]
        self.sent.clear()
        return done[1], done[2]

    def count(self, **changes: Any) -> int:
        """Generate one image and return how often the last block was computed."""
        self.last_block = 0
        assert self.generate(one=generation(**changes))
        return self.last_block


@pytest.fixture(params=METHODS)
def name(request: pytest.FixtureRequest) -> str:
    """Each cache in turn."""
    return str(request.param)


@pytest.fixture
def bench(name: str, pipeline: QwenImagePipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> TieredBench:
    """A bench whose FirstBlockCache skips whatever it can in the fast tier, as the others do by counting."""
    monkeypatch.setitem(first_block.THRESHOLDS, "fast", 1e9)
    return TieredBench(pipeline, gate, METHODS[name](), monkeypatch)


def test_the_fast_tier_skips_blocks_and_still_generates_a_image(bench: TieredBench, name: str) -> None:
    exact = bench.generate(one=generation(steps=10))["one"]
    exact_work, bench.last_block = bench.last_block, 0
    fast = bench.generate(one=generation(steps=10, quality="fast"))["one"]
    assert bench.last_block == 2 * WHOLE_OF_TEN[name]  # with guidance every step has two passes
    assert exact_work == 20
    assert len(fast) == len(exact)
    assert fast != exact


def test_the_high_tier_skips_less_than_the_fast_one(bench: TieredBench) -> None:
    assert bench.count(steps=10, quality="fast") < bench.count(steps=10, quality="high") <= bench.count(steps=10)


def test_an_exact_image_that_overtakes_a_fast_one_is_bit_equal_to_the_plain_pipeline(
    bench: TieredBench, pipeline: QwenImagePipeline
) -> None:
    fast, wanted = generation(steps=20, quality="fast"), generation(seed=5, deterministic=True)
    alone = bench.generate(fast=fast)["fast"]
    assert bench.generate_with_interruption(fast, wanted) == (alone, plain_pipe(pipeline, wanted))


def test_a_fast_image_that_another_one_overtakes_keeps_its_states(bench: TieredBench) -> None:
    long, short = generation(steps=20, quality="fast"), generation("a blue star", steps=5, quality="high", seed=4)
    alone = bench.generate(long=long)["long"], bench.generate(short=short)["short"]
    assert bench.generate_with_interruption(long, short) == alone


def test_two_fast_images_at_once_are_what_each_is_alone(bench: TieredBench) -> None:
    first = generation(seed=1, steps=8, quality="fast")
    second = generation("a blue star", seed=2, steps=10, quality="high")
    together = bench.generate(first=first, second=second)
    assert together["first"] == bench.generate(first=first)["first"]
    assert together["second"] == bench.generate(second=second)["second"]


def test_several_images_of_one_fast_job_keep_their_own_states(bench: TieredBench) -> None:
    pair = np.frombuffer(bench.generate(pair=generation(count=2, steps=8, quality="fast"))["pair"], np.uint8)
    half = len(pair) // 2
    assert bytes(pair[:half]) == bench.generate(one=generation(seed=1, steps=8, quality="fast"))["one"]
    assert bytes(pair[half:]) == bench.generate(one=generation(seed=2, steps=8, quality="fast"))["one"]


def test_the_hooks_go_away_with_their_last_user(bench: TieredBench) -> None:
    bench.generate(one=generation(quality="high"))
    assert not bench.transformer.is_cache_enabled


def test_a_fast_image_is_the_same_after_the_hooks_were_gone(bench: TieredBench) -> None:
    wanted = generation(steps=8, quality="fast")
    assert bench.generate(one=wanted) == bench.generate(one=wanted)


def test_a_cancelled_fast_job_leaves_nothing_behind(bench: TieredBench, pipeline: QwenImagePipeline) -> None:
    bench.turns.add(Run(job=1, generation=generation(steps=8, quality="fast")))
    for _ in range(11):
        bench.turns.step()
    bench.turns.cancel(1)
    assert not bench.transformer.is_cache_enabled
    assert bench.generate(one=generation())["one"] == plain_pipe(pipeline, generation())


def test_a_fast_image_is_the_same_beside_neighbours_that_end_or_are_cancelled_midway(
    bench: TieredBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(first_block.THRESHOLDS, "fast", 0.2)
    fast = generation(steps=12, quality="fast", seed=6)
    alone = bench.generate(fast=fast)["fast"]
    assert bench.generate(fast=fast, short=generation(steps=3))["fast"] == alone
    bench.turns.add(Run(job=1, generation=fast))
    bench.turns.add(Run(job=2, generation=generation(steps=12, seed=8, quality="fast")))
    for _ in range(19):
        bench.turns.step()
    bench.turns.cancel(2)
    while bench.turns.busy:
        bench.turns.step()
    [raw] = [raw for message, raw in bench.sent if isinstance(message, Finished)]
    assert raw == alone


def test_a_fast_image_that_starts_from_another_counts_the_steps_that_it_does(bench: TieredBench) -> None:
    pixels = bytes(64 * 64 * 3)
    wanted = generation(steps=20, quality="fast", source=Source(strength=0.5, digest="black"))
    assert wanted.generated_steps == 10
    bench.generate(one=generation(steps=10, quality="fast"))
    from_noise, bench.last_block = bench.last_block, 0
    assert bench.generate(one=wanted, source=pixels)
    assert bench.last_block == from_noise


def test_skipped_forwards_do_not_make_others_look_cheap(bench: TieredBench) -> None:
    bench.model.costs.observe(64 * 64, 1, 5.0)
    bench.generate(one=generation(steps=10, quality="fast"))
    assert bench.model.costs.seconds(64 * 64) == 5.0


@pytest.mark.parametrize("quality", ["high", "fast"])
def test_taylorseer_generates_images_of_few_steps_exactly(
    quality: str, pipeline: QwenImagePipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = TieredBench(pipeline, gate, TaylorSeer(), monkeypatch)
    wanted = generation(steps=taylorseer.PACES[quality].min_whole, quality=quality)
    assert bench.generate(one=wanted)["one"] == plain_pipe(pipeline, wanted)


def test_magcache_skips_nothing_where_the_blocks_part_changes_quickly(
    pipeline: QwenImagePipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    steep = Calibration((1.0, 0.0), (1.0, 30.0))
    bench = TieredBench(pipeline, gate, MagCache(steep), monkeypatch)
    assert bench.count(steps=10, quality="fast") == 20


def test_a_cache_that_finds_no_blocks_is_an_error_when_it_is_tried_on(gate: Gate) -> None:
    class Blockless(torch.nn.Module):
        def enable_cache(self, config: Any) -> None:
            pass

    tiers = QualityTiers(Blockless(), gate.set_context, gate.forward, TaylorSeer())
    with pytest.raises(ValueError, match="diffusers finds no blocks in Blockless"):
        tiers.check_fit()
