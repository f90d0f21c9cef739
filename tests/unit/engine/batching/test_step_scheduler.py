"""Suspended pipelines generate what plain ones generate, alone, together, and after a neighbour failed."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.batching import running_job
from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.engine.pipelines.decoding.tiles import IN_TILES, decode_in_tiles_when_full
from imageserver.generation import Source
from imageserver.protocol.messages import Finished, Progress, Started
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, difference


def test_a_lone_job_is_bit_equal_to_the_plain_pipeline(engine: TinyEngine) -> None:
    wanted = generation(true_cfg_scale=1.0)
    [image] = engine.generate(wanted)
    assert (image == engine.plain(wanted)).all()
    [(finished, _)] = engine.of(Finished)
    assert finished.outcome.seeds == (1,)
    assert finished.outcome.batch_size == 1


def test_different_steps_guidance_seeds_and_texts_share_forwards_and_keep_their_images(engine: TinyEngine) -> None:
    wanted = [
        generation("a red circle", steps=3, seed=1),
        generation("a large blue star on white", steps=5, seed=2, true_cfg_scale=5.0),
        generation("moon", steps=4, seed=3, true_cfg_scale=1.0),
        generation("a red circle", steps=4, seed=4, negative_prompt="yellow"),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) >= 3
    assert len(engine.batches) < sum(one.steps * 2 for one in wanted)
    for one, image in zip(wanted, together, strict=True):
        assert difference(image, engine.plain(one)) <= 1


def test_jobs_join_while_others_are_under_way(engine: TinyEngine) -> None:
    first, second = generation(steps=9), generation(steps=3, seed=9)
    engine.add(1, first)
    engine.step(5)
    engine.add(2, second)
    engine.run()
    assert engine.batches == [2] * 5 + [4] * 3 + [2]
    for job, wanted in ((1, first), (2, second)):
        assert difference(engine.result(job), engine.plain(wanted)) <= 1


def test_a_deterministic_job_is_served_alone_and_bit_equal(engine: TinyEngine) -> None:
    wanted = generation(deterministic=True, seed=5)
    _, image, _ = engine.generate(generation(seed=4), wanted, generation(seed=6))
    assert (image == engine.plain(wanted)).all()
    assert engine.of(Finished, 1)[0][0].outcome.batch_size == 1
    assert sorted(engine.batches) == [1] * 2 * wanted.steps + [4] * 4


def test_a_deterministic_job_decodes_to_the_bit_as_diffusers_does_beside_the_fast_decoder(
    engine: TinyEngine, fast_vae: None
) -> None:
    wanted = generation(deterministic=True, width=256, height=256, steps=2)
    exact, fast = engine.generate(wanted, dataclasses.replace(wanted, deterministic=False))
    plain = engine.plain(wanted)
    assert (exact == plain).all()
    assert difference(fast, plain) <= 1


@pytest.mark.fault(7)
def test_a_cancelled_neighbour_leaves_no_trace(engine: TinyEngine) -> None:
    one_at_a_time, wanted = TinyEngine(engine.pipeline, cap=1), generation(steps=5, seed=8)
    image, gone = one_at_a_time.generate(wanted, generation(steps=9, seed=7), cancelled=1)
    assert gone.code == "cancelled"
    assert (image == engine.plain(wanted)).all()


def test_the_job_after_a_cancelled_one_is_bit_equal(engine: TinyEngine) -> None:
    engine.add(1, generation(seed=2))
    engine.step(1)
    engine.scheduler.cancel(1)
    [image] = engine.generate(generation(seed=3))
    assert (image == engine.plain(generation(seed=3))).all()


def test_a_batch_that_fails_is_served_one_by_one_and_only_the_guilty_job_fails(engine: TinyEngine) -> None:
    def fail_the_batch_and_the_second_alone() -> None:
        if len(engine.batches) in (1, 3):
            raise RuntimeError("injected")

    engine.before_forward = fail_the_batch_and_the_second_alone
    image, failure = engine.generate(generation(seed=11), generation(seed=12))
    assert failure.code == "generation_failed"
    assert (image == engine.plain(generation(seed=11))).all()


def test_several_images_of_one_job_share_forwards_and_use_consecutive_seeds(engine: TinyEngine) -> None:
    [images] = engine.generate(generation(count=3, seed=20))
    [(finished, _)] = engine.of(Finished)
    assert finished.outcome.seeds == (20, 21, 22)
    assert finished.outcome.batch_size == 3
    for seed, image in zip((20, 21, 22), images, strict=True):
        assert difference(image, engine.plain(generation(seed=seed))) <= 1


def test_images_of_other_sizes_never_share_a_forward(engine: TinyEngine) -> None:
    unguided = {"true_cfg_scale": 1.0}
    engine.generate(generation(width=64, height=96, **unguided), generation(width=96, height=64, **unguided))
    assert set(engine.batches) == {1}


def test_a_job_starts_and_its_time_begins_with_its_first_image(engine: TinyEngine, monkeypatch: Any) -> None:
    now = 0.0
    monkeypatch.setattr(running_job.time, "monotonic", lambda: now)

    def started() -> list[int]:
        return [message.job for message, _ in engine.sent if isinstance(message, Started)]

    engine.add(1, generation(steps=9))
    engine.step(1)
    for job in (2, 3, 4):
        engine.add(job, generation(steps=2, seed=job))
    assert started() == [1]
    engine.step(1)
    assert len(started()) == 3
    now = 40.0
    engine.run()
    times = {job: engine.of(Finished, job)[0][0].outcome.inference_time for job in started()}
    assert list(times.values()) == [40.0, 40.0, 40.0, 0.0]


def test_progress_counts_every_step_of_every_image(engine: TinyEngine) -> None:
    engine.generate(generation(count=2, steps=3))
    assert isinstance(engine.sent[0][0], Started)
    steps = [(message.step, message.total) for message, _ in engine.of(Progress)]
    assert steps == [(step, 6) for step in range(1, 7)]


def test_an_image_between_two_multiples_is_cropped_to_its_exact_size(engine: TinyEngine) -> None:
    [image] = engine.generate(generation(width=70, height=65))
    assert image.shape == (65, 70, 3)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_long_prompt_is_read_in_part_and_said_so(engine: TinyEngine, scale: float) -> None:
    engine.generate(generation("word " * 400, steps=1, true_cfg_scale=scale))
    [(finished, _)] = engine.of(Finished)
    assert any("the model read the first 1024" in warning for warning in finished.outcome.warnings)


def test_a_job_that_does_not_fit_says_so_and_its_memory_is_given_back(engine: TinyEngine) -> None:
    def fill_up() -> None:
        if len(engine.batches) == 2:
            raise torch.OutOfMemoryError("full")

    engine.before_forward = fill_up
    [failure] = engine.generate(generation(prompt="too much", true_cfg_scale=1.0))
    assert failure.code == "out_of_memory"
    assert engine.released == 1
    engine.before_forward = lambda: None
    wanted = generation(prompt="small enough", true_cfg_scale=1.0)
    [image] = engine.generate(wanted)
    assert (image == engine.plain(wanted)).all()


def test_a_batch_that_does_not_fit_is_served_one_by_one_and_the_next_ones_are_smaller(engine: TinyEngine) -> None:
    def full_from_three() -> None:
        if engine.batches[-1] >= 3:
            raise torch.OutOfMemoryError("full")

    engine.before_forward = full_from_three
    wanted = [generation(seed=seed, steps=3) for seed in (1, 2, 3)]
    images = engine.generate(*wanted)
    assert engine.batches.count(3) == 1
    assert max(engine.batches[engine.batches.index(3) + 1 :]) == 2
    for one, image in zip(wanted, images, strict=True):
        assert difference(image, engine.plain(one)) <= 1


def test_an_image_that_does_not_fit_is_told_what_was_generated_before(engine: TinyEngine) -> None:
    engine.generate(generation(width=64, height=64))

    def full() -> None:
        raise torch.OutOfMemoryError("full")

    engine.before_forward = full
    [failure] = engine.generate(generation(width=128, height=128))
    assert failure.sentence == (
        "The device's memory cannot hold a 128x128 image; ask for a smaller one of at most 4096 pixels, as one that "
        "was generated before."
    )


def test_an_image_that_was_decoded_in_tiles_says_so(engine: TinyEngine) -> None:
    vae = engine.pipeline.vae
    decode = vae.decode
    tries = []

    def full_at_first(*arguments: Any, **options: Any) -> Any:
        tries.append(vae.use_tiling)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("full")
        return decode(*arguments, **options)

    vae.decode = full_at_first
    try:
        decode_in_tiles_when_full(vae, engine.release)
        engine.generate(generation())
    finally:
        del vae.decode
    [(answer, _)] = engine.of(Finished)
    assert answer.outcome.warnings == (IN_TILES,)
    assert (tries, engine.released) == ([False, True], 1)


def test_a_deterministic_job_that_starts_from_an_image_is_bit_equal_beside_the_fast_encoder(
    engine: TinyEngine, fast_vae: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    wanted = generation(deterministic=True, width=256, height=256, source=Source(strength=0.5, digest="x"))
    plain = engine.plain(wanted, "image", image=Image.fromarray(start), strength=0.5)
    fast, encode = [], engine.pipeline.vae.encode

    def watched(*arguments: Any, **options: Any) -> Any:
        fast.append(single_frame_vae.active())
        return encode(*arguments, **options)

    monkeypatch.setattr(engine.pipeline.vae, "encode", watched)
    [image] = engine.generate((wanted, start.tobytes()))
    assert (image == plain).all()
    engine.generate((dataclasses.replace(wanted, deterministic=False), start.tobytes()))
    assert fast == [False, True]
