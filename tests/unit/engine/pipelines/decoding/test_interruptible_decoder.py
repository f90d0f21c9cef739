"""Others go first between the layers of a large image's decoding, and no bit changes."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from diffusers import QwenImagePipeline

from imageserver.engine.pipelines.decoding.interruptible_decoder import InterruptibleDecoder
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_models import tiny_qwen_image


class Clock:
    """Every look at it is a turn later, or none passes."""

    def __init__(self) -> None:
        self._looks = itertools.count()
        self.stands_still = False

    def __call__(self) -> float:
        return 0.0 if self.stands_still else float(next(self._looks))


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def interruptible(clock: Clock) -> QwenImagePipeline:
    """A pipeline of these tests' own, whose decoder gives up its turn at every layer."""
    pipeline = tiny_qwen_image()
    InterruptibleDecoder(pipeline.vae, clock)
    return pipeline


@pytest.fixture
def decoding(interruptible: QwenImagePipeline, clock: Clock, fast_vae: None) -> Iterator[TinyEngine]:
    """An engine over it, with the arithmetic of the server."""
    clock.stands_still = False
    engine = TinyEngine(interruptible)
    # Seconds, as on two cores.
    engine.model.ending_costs.observe(128 * 128, 1, 100.0)
    yield engine
    engine.gate.remove()


def large(**changes: Any) -> Generation:
    return generation(width=128, height=128, steps=2, true_cfg_scale=1.0, **changes)


def small(**changes: Any) -> Generation:
    return generation(width=64, height=64, steps=2, true_cfg_scale=1.0, **changes)


def begin_decoding(engine: TinyEngine, job: int, wanted: Generation) -> None:
    """Step until a job has had its calls and two layers of its decoder."""
    engine.sent.clear()
    engine.batches.clear()
    engine.add(job, wanted)
    engine.step(wanted.steps + 2)
    assert len(engine.batches) == wanted.steps
    assert engine.scheduler.busy


def order_of(engine: TinyEngine) -> list[int]:
    return [message.job for message, _ in engine.sent if isinstance(message, Finished)]


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_small_image_is_finished_during_the_decoding_of_a_large_one(
    decoding: TinyEngine, deterministic: bool
) -> None:
    wanted = [large(deterministic=deterministic), small(deterministic=not deterministic)]
    [first], [second] = decoding.generate(wanted[0]), decoding.generate(wanted[1])
    begin_decoding(decoding, 0, wanted[0])
    decoding.add(1, wanted[1])
    decoding.run()
    assert order_of(decoding) == [1, 0]
    assert (decoding.result(0) == first).all(), "each has its own arithmetic, whatever the other's"
    assert (decoding.result(1) == second).all()


def test_an_interrupted_image_is_that_of_the_plain_pipeline(decoding: TinyEngine, clock: Clock) -> None:
    [image] = decoding.generate(large(deterministic=True))
    clock.stands_still = True
    assert (image == decoding.plain(large())).all()


def test_images_of_one_size_are_decoded_one_after_the_other(
    decoding: TinyEngine, interruptible: QwenImagePipeline
) -> None:
    """Both at a time would need twice the memory."""
    events: list[str] = []
    hooks = [
        interruptible.vae.decoder.conv_in.register_forward_hook(lambda *_: events.append("begins")),
        interruptible.vae.decoder.conv_out.register_forward_hook(lambda *_: events.append("ends")),
    ]
    decoding.generate(large(seed=1), large(seed=2), large(seed=3))
    for hook in hooks:
        hook.remove()
    assert decoding.batches == [3, 3]
    assert events == ["begins", "ends"] * 3


def test_an_image_can_be_cancelled_during_its_decoding(decoding: TinyEngine) -> None:
    begin_decoding(decoding, 0, large())
    decoding.scheduler.cancel(0)
    assert not decoding.scheduler.busy
    assert isinstance(decoding.result(0), Failed)
    assert not isinstance(decoding.generate(large())[0], Failed), "and the next is decoded"


def test_a_turn_that_took_no_time_is_not_given_up(decoding: TinyEngine, clock: Clock) -> None:
    clock.stands_still = True
    decoding.add(0, large())
    decoding.step(2)
    assert not decoding.scheduler.busy


def test_tiles_are_not_interrupted(decoding: TinyEngine, interruptible: QwenImagePipeline) -> None:
    interruptible.vae.enable_tiling(tile_sample_min_height=64, tile_sample_min_width=64)
    try:
        decoding.add(0, large())
        decoding.step(2)
        assert not decoding.scheduler.busy
    finally:
        interruptible.vae.disable_tiling()
