"""The cache tiers skip work, leave no trace in exact pictures, and go away with their last user."""

from typing import Any

import numpy as np
import pytest
from diffusers import QwenImagePipeline

from imageserver.engine import quality
from imageserver.engine.families import QwenImage
from imageserver.engine.painter import Painter
from imageserver.engine.quality import QualityTiers
from imageserver.engine.suspension import Gate
from imageserver.engine.turns import Turns
from imageserver.messages import Finished, Message, Run
from tests.factories import generation
from tests.unit.engine.conftest import plain_pipe


class TieredBench:
    """Turns with tiers over the tiny pipeline, counting how often its last block is computed."""

    def __init__(self, pipeline: QwenImagePipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[Message, bytes]] = []
        self.last_block = 0
        self.transformer = pipeline.transformer
        block = pipeline.transformer.transformer_blocks[-1].attn
        stock = block.forward

        def counted(*arguments: Any, **options: Any) -> Any:
            self.last_block += 1
            return stock(*arguments, **options)

        monkeypatch.setattr(block, "forward", counted)
        self.turns = Turns(
            Painter(pipeline, QwenImage()), gate.forward, lambda *frame: self.sent.append(frame),
            merger=QwenImage.merger, cap_of=lambda pixels: 8,
            tiers=QualityTiers(pipeline.transformer, gate.set_context, gate.forward),
        )  # fmt: skip

    def draw(self, **jobs: Any) -> dict[str, bytes]:
        """Draw several jobs together and return their pixels by name."""
        names = dict(enumerate(jobs))
        for number, wanted in enumerate(jobs.values()):
            self.turns.add(Run(job=number, generation=wanted))
        while self.turns.busy:
            self.turns.take_one()
        done = {names[message.job]: raw for message, raw in self.sent if isinstance(message, Finished)}
        self.sent.clear()
        return done


@pytest.fixture
def bench(pipeline: QwenImagePipeline, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> TieredBench:
    """A bench whose fast tier skips whatever it can."""
    monkeypatch.setitem(quality.THRESHOLDS, "fast", 1e9)
    return TieredBench(pipeline, gate, monkeypatch)


def test_the_fast_tier_skips_blocks_and_still_draws_a_picture(bench: TieredBench) -> None:
    exact = bench.draw(one=generation(steps=10))["one"]
    exact_work, bench.last_block = bench.last_block, 0
    fast = bench.draw(one=generation(steps=10, quality="fast"))["one"]
    assert bench.last_block == 2  # the first step of each pass
    assert exact_work == 20
    assert len(fast) == len(exact)
    assert fast != exact


def test_exact_pictures_beside_a_fast_one_are_bit_equal_to_the_plain_pipeline(
    bench: TieredBench, pipeline: QwenImagePipeline
) -> None:
    wanted = generation(seed=5, deterministic=True)
    drawn = bench.draw(fast=generation(steps=8, quality="fast"), exact=wanted)
    assert drawn["exact"] == plain_pipe(pipeline, wanted)


def test_two_fast_pictures_at_once_are_what_each_is_alone(bench: TieredBench) -> None:
    first, second = generation(seed=1, quality="fast"), generation("a blue star", seed=2, quality="fast")
    together = bench.draw(first=first, second=second)
    assert together["first"] == bench.draw(first=first)["first"]
    assert together["second"] == bench.draw(second=second)["second"]


def test_several_pictures_of_one_fast_job_keep_their_own_states(bench: TieredBench) -> None:
    pair = np.frombuffer(bench.draw(pair=generation(count=2, quality="fast"))["pair"], np.uint8)
    half = len(pair) // 2
    assert bytes(pair[:half]) == bench.draw(one=generation(seed=1, quality="fast"))["one"]
    assert bytes(pair[half:]) == bench.draw(one=generation(seed=2, quality="fast"))["one"]


def test_the_hooks_go_away_with_their_last_user(bench: TieredBench) -> None:
    bench.draw(one=generation(quality="high"))
    assert not bench.transformer.is_cache_enabled


def test_a_cancelled_fast_job_leaves_nothing_behind(bench: TieredBench, pipeline: QwenImagePipeline) -> None:
    bench.turns.add(Run(job=1, generation=generation(steps=8, quality="fast")))
    for _ in range(4):
        bench.turns.take_one()
    bench.turns.cancel(1)
    assert not bench.transformer.is_cache_enabled
    assert bench.draw(one=generation())["one"] == plain_pipe(pipeline, generation())


def test_a_fast_picture_is_the_same_beside_neighbours_that_end_or_are_cancelled_midway(
    bench: TieredBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(quality.THRESHOLDS, "fast", 0.2)
    fast = generation(steps=12, quality="fast", seed=6)
    alone = bench.draw(fast=fast)["fast"]
    assert bench.draw(fast=fast, short=generation(steps=3))["fast"] == alone
    bench.turns.add(Run(job=1, generation=fast))
    bench.turns.add(Run(job=2, generation=generation(steps=12, seed=8)))
    for _ in range(9):
        bench.turns.take_one()
    bench.turns.cancel(2)
    while bench.turns.busy:
        bench.turns.take_one()
    [raw] = [raw for message, raw in bench.sent if isinstance(message, Finished)]
    assert raw == alone
