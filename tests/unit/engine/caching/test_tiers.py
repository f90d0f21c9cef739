"""The cache tiers skip work, leave no trace in exact images, and go away with their last user: every cache."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver import scheduling_policy
from imageserver.engine.caching import Calibration, QualityTiers, first_block, taylorseer
from imageserver.engine.caching.backend import CacheBackend
from imageserver.engine.caching.first_block import FirstBlock
from imageserver.engine.caching.mag_cache import MagCache
from imageserver.engine.caching.taylorseer import TaylorSeer
from imageserver.engine.pipelines.suspension import Gate
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Finished
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine

# A model whose blocks add as much at the end as at the beginning.
LEVEL = Calibration((1.0, 0.0), (1.0, 1.0))
METHODS: dict[str, Callable[[], CacheBackend]] = {
    "taylorseer": TaylorSeer, "first_block": FirstBlock, "magcache": lambda: MagCache(LEVEL)
}  # fmt: skip
# Computed steps of ten, per pass: TaylorSeer whole 0-3, 5, 8; FirstBlockCache whole 0; MagCache whole 0-1, 4, 7.
WHOLE_OF_TEN = {"taylorseer": 6, "first_block": 1, "magcache": 4}


class CachedEngine(TinyEngine):
    """An engine with a cache, counting how often the last block of its model is computed."""

    def __init__(self, pipeline: QwenImagePipeline, cache: CacheBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(pipeline, cache=cache)
        self.last_block = 0
        # A cached forward of a slow machine takes so long that its image would be past its due moment and go first.
        monkeypatch.setitem(scheduling_policy.AGEING_SECONDS, "normal", float("inf"))
        block = pipeline.transformer.transformer_blocks[-1].attn
        stock = block.forward

        def counted(*arguments: Any, **options: Any) -> Any:
            self.last_block += 1
            return stock(*arguments, **options)

        monkeypatch.setattr(block, "forward", counted)

    def one(self, wanted: Generation) -> bytes:
        """Generate one image and return its pixels."""
        self.last_block = 0
        return bytes(self.generate(wanted)[0])

    def count(self, **changes: Any) -> int:
        """Generate one image and return how often the last block was computed."""
        assert self.one(generation(**changes))
        return self.last_block

    def interrupted(self, wanted: Generation, neighbour: Generation) -> tuple[bytes, bytes]:
        """Begin the wanted one, let the shorter neighbour overtake it, and return the pixels of both."""
        self.sent.clear()
        self.add(1, wanted)
        self.step(13)
        assert self.scheduler.busy
        self.add(2, neighbour)
        self.run()
        assert [message.job for message, _ in self.sent if isinstance(message, Finished)] == [2, 1]
        return bytes(self.result(1)), bytes(self.result(2))


Make = Callable[[CacheBackend], CachedEngine]


@pytest.fixture
def make(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Build engines with a cache over the shared pipeline."""
    return lambda cache: CachedEngine(engine.pipeline, cache, monkeypatch)


@pytest.fixture(params=METHODS)
def name(request: pytest.FixtureRequest) -> str:
    """Each cache in turn."""
    return str(request.param)


@pytest.fixture
def cached(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> CachedEngine:
    """An engine whose FirstBlockCache skips whatever it can in the fast tier, as the others do by counting."""
    monkeypatch.setitem(first_block.THRESHOLDS, "fast", 1e9)
    return make(METHODS[name]())


def test_the_fast_tier_skips_blocks_and_still_generates_an_image(cached: CachedEngine, name: str) -> None:
    exact = cached.one(generation(steps=10, deterministic=True))
    assert cached.last_block == 20
    fast = cached.one(generation(steps=10, quality="fast"))
    assert cached.last_block == 2 * WHOLE_OF_TEN[name]  # with guidance every step has two passes
    assert len(fast) == len(exact)
    assert fast != exact


def test_the_high_tier_skips_less_than_the_fast_one(cached: CachedEngine) -> None:
    fast, high = (cached.count(steps=10, quality=quality) for quality in ("fast", "high"))
    exact = cached.count(steps=10, deterministic=True)
    assert fast < high <= exact


def test_an_exact_image_that_overtakes_a_fast_one_is_bit_equal_to_the_plain_pipeline(cached: CachedEngine) -> None:
    fast, wanted = generation(steps=20, quality="fast"), generation(seed=5, deterministic=True)
    assert cached.interrupted(fast, wanted) == (cached.one(fast), bytes(cached.plain(wanted)))


def test_a_fast_image_that_another_one_overtakes_keeps_its_states(cached: CachedEngine) -> None:
    long, short = generation(steps=20, quality="fast"), generation("a blue star", steps=5, quality="high", seed=4)
    assert cached.interrupted(long, short) == (cached.one(long), cached.one(short))


def test_two_fast_images_at_once_are_what_each_is_alone(cached: CachedEngine) -> None:
    wanted = [generation(steps=8, quality="fast"), generation("a blue star", seed=2, steps=10, quality="high")]
    assert [bytes(image) for image in cached.generate(*wanted)] == [cached.one(one) for one in wanted]


def test_several_images_of_one_fast_job_keep_their_own_states(cached: CachedEngine) -> None:
    [pair] = cached.generate(generation(count=2, steps=8, quality="fast"))
    alone = [cached.one(generation(seed=seed, steps=8, quality="fast")) for seed in (1, 2)]
    assert [bytes(image) for image in pair] == alone


def test_the_hooks_go_away_with_their_last_user(cached: CachedEngine) -> None:
    cached.one(generation(quality="high"))
    assert not cached.denoiser.is_cache_enabled


def test_a_fast_image_is_the_same_after_the_hooks_were_gone(cached: CachedEngine) -> None:
    wanted = generation(steps=8, quality="fast")
    assert cached.one(wanted) == cached.one(wanted)


def test_a_cancelled_fast_job_leaves_nothing_behind(cached: CachedEngine) -> None:
    cached.add(1, generation(steps=8, quality="fast"))
    cached.step(11)
    cached.scheduler.cancel(1)
    assert not cached.denoiser.is_cache_enabled
    wanted = generation(deterministic=True)
    assert cached.one(wanted) == bytes(cached.plain(wanted))


def test_a_fast_image_is_the_same_beside_neighbours_that_end_or_are_cancelled_midway(
    cached: CachedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(first_block.THRESHOLDS, "fast", 0.2)
    fast = generation(steps=12, quality="fast", seed=6)
    alone = cached.one(fast)
    assert bytes(cached.generate(fast, generation(steps=3))[0]) == alone
    cached.sent.clear()
    cached.add(1, fast)
    cached.add(2, generation(steps=12, seed=8, quality="fast"))
    cached.step(19)
    cached.scheduler.cancel(2)
    cached.run()
    assert cached.result(2).code == "cancelled"
    assert bytes(cached.result(1)) == alone


def test_a_fast_image_that_starts_from_another_counts_the_steps_that_it_does(cached: CachedEngine) -> None:
    wanted = generation(steps=20, quality="fast", source=Source(strength=0.5, digest="black"))
    assert wanted.generated_steps == 10
    from_noise = cached.count(steps=10, quality="fast")
    cached.last_block = 0
    cached.generate((wanted, bytes(64 * 64 * 3)))
    assert cached.last_block == from_noise


def test_skipped_forwards_do_not_make_others_look_cheap(cached: CachedEngine) -> None:
    cached.model.costs.observe(64 * 64, 1, 5.0)
    cached.one(generation(steps=10, quality="fast"))
    assert cached.model.costs.seconds(64 * 64) == 5.0


@pytest.mark.parametrize("quality", ["high", "fast"])
def test_taylorseer_generates_images_of_few_steps_exactly(quality: str, make: Make) -> None:
    cached = make(TaylorSeer())
    wanted = generation(steps=taylorseer.PACES[quality].min_whole, quality=quality)
    assert cached.one(wanted) == bytes(cached.plain(wanted))


def test_magcache_skips_nothing_where_the_blocks_part_changes_quickly(make: Make) -> None:
    steep = Calibration((1.0, 0.0), (1.0, 30.0))
    assert make(MagCache(steep)).count(steps=10, quality="fast") == 20


def test_a_cache_that_finds_no_blocks_is_an_error_when_it_is_checked(gate: Gate) -> None:
    class Blockless(torch.nn.Module):
        def enable_cache(self, config: Any) -> None:
            pass

    tiers = QualityTiers(Blockless(), gate.set_context, gate.forward, TaylorSeer())
    with pytest.raises(ValueError, match="diffusers finds no blocks in Blockless"):
        tiers.check_fit()
