"""Suspended pipelines generate what plain ones generate, alone, together, and after a neighbour failed."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from imageserver.engine.pipelines import single_frame_vae
from imageserver.engine.pipelines.tiled_decoding import IN_TILES, decode_in_tiles_when_full
from imageserver.engine.runner.pipeline_runner import as_class
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Failed, Finished, Progress, Run, Started
from tests.support.factories import generation
from tests.unit.engine.conftest import Bench, plain_pipe

MakeBench = Callable[..., Bench]

# A batched forward differs from a solo one by 1e-6; a value that sits on a rounding edge may so fall one level apart.
ONE_LEVEL = 1


def fast_convolutions() -> bool:
    return not single_frame_vae._bypassed


def pixels(raw: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(raw, np.uint8).astype(int)


def test_a_lone_job_is_bit_equal_to_the_plain_pipeline(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench, wanted = make_bench(), generation()
    bench.add(1, wanted)
    bench.run()
    [(finished, raw)] = bench.of(Finished, 1)
    assert raw == plain_pipe(pipeline, wanted)
    assert finished.outcome.seeds == (1,)
    assert finished.outcome.batch_size == 1


def test_different_steps_guidance_seeds_and_texts_share_forwards_and_keep_their_images(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    bench = make_bench(cap=8)
    jobs = {
        1: generation("a red circle", steps=3, seed=1),
        2: generation("a large blue star on white", steps=5, seed=2, true_cfg_scale=5.0),
        3: generation("moon", steps=4, seed=3, true_cfg_scale=1.0),
        4: generation("a red circle", steps=4, seed=4, negative_prompt="yellow"),
    }
    for job, wanted in jobs.items():
        bench.add(job, wanted)
    bench.run()
    assert max(bench.batches) >= 3
    assert len(bench.batches) < sum(wanted.steps * 2 for wanted in jobs.values())
    for job, wanted in jobs.items():
        [(_, raw)] = bench.of(Finished, job)
        assert np.abs(pixels(raw) - pixels(plain_pipe(pipeline, wanted))).max() <= ONE_LEVEL


def test_jobs_join_while_others_are_under_way(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench = make_bench()
    first, second = generation(steps=6), generation(steps=3, seed=9)
    bench.add(1, first)
    for _ in range(5):
        bench.turns.step()
    bench.add(2, second)
    bench.run()
    assert bench.batches[:5] == [1] * 5
    assert 2 in bench.batches
    for job, wanted in ((1, first), (2, second)):
        assert np.abs(pixels(bench.of(Finished, job)[0][1]) - pixels(plain_pipe(pipeline, wanted))).max() <= ONE_LEVEL


def test_a_deterministic_job_is_served_alone_and_bit_equal(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench = make_bench()
    wanted = generation(deterministic=True, seed=5)
    bench.add(1, generation(seed=4))
    bench.add(2, wanted)
    bench.add(3, generation(seed=6))
    bench.run()
    [(finished, raw)] = bench.of(Finished, 2)
    assert raw == plain_pipe(pipeline, wanted)
    assert finished.outcome.batch_size == 1
    assert max(bench.batches) == 2


def test_a_deterministic_job_decodes_to_the_bit_as_diffusers_does_beside_the_fast_decoder(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    wanted = generation(deterministic=True, width=256, height=256, steps=2)
    plain = plain_pipe(pipeline, wanted)
    single_frame_vae.install()
    bench = make_bench()
    bench.add(1, wanted)
    bench.run()
    assert bench.of(Finished, 1)[0][1] == plain
    bench.add(2, generation(width=256, height=256, steps=2))
    bench.run()
    assert np.abs(pixels(bench.of(Finished, 2)[0][1]) - pixels(plain)).max() <= ONE_LEVEL


def test_a_cancelled_neighbour_leaves_no_trace(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench, wanted = make_bench(cap=1), generation(steps=5, seed=8)
    bench.add(1, wanted)
    bench.add(2, generation(steps=9, seed=7))
    for _ in range(6):
        bench.turns.step()
    bench.turns.cancel(2)
    bench.run()
    [(failure, _)] = bench.of(Failed, 2)
    assert failure.code == "cancelled"
    assert bench.of(Finished, 1)[0][1] == plain_pipe(pipeline, wanted)


def test_the_job_after_a_cancelled_one_is_bit_equal(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench, wanted = make_bench(), generation(seed=3)
    bench.add(1, generation(seed=2))
    bench.turns.step()
    bench.turns.cancel(1)
    bench.add(2, wanted)
    bench.run()
    assert bench.of(Finished, 2)[0][1] == plain_pipe(pipeline, wanted)


def test_a_batch_that_fails_is_served_one_by_one_and_only_the_guilty_job_fails(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    bench, wanted = make_bench(), generation(seed=11)
    bench.add(1, wanted)
    bench.add(2, generation(seed=12))
    calls = 0

    def fail_the_batch_and_the_second_alone(count: int) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise RuntimeError("injected")

    bench.before_forward = fail_the_batch_and_the_second_alone
    bench.run()
    assert bench.of(Failed, 2)[0][0].code == "generation_failed"
    assert bench.of(Finished, 1)[0][1] == plain_pipe(pipeline, wanted)


def test_several_images_of_one_job_share_forwards_and_use_consecutive_seeds(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    bench, wanted = make_bench(), generation(count=3, seed=20)
    bench.add(1, wanted)
    bench.run()
    [(finished, raw)] = bench.of(Finished, 1)
    assert finished.outcome.seeds == (20, 21, 22)
    assert finished.outcome.batch_size == 3
    size = 64 * 64 * 3
    for index in range(3):
        alone = plain_pipe(pipeline, generation(seed=20 + index))
        assert np.abs(pixels(raw[index * size : (index + 1) * size]) - pixels(alone)).max() <= ONE_LEVEL


def test_images_of_other_sizes_never_share_a_forward(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.add(1, generation(width=64, height=96))
    bench.add(2, generation(width=96, height=64))
    bench.run()
    assert set(bench.batches) == {1}


def test_progress_counts_every_step_of_every_image(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.add(1, generation(count=2, steps=3))
    bench.run()
    assert isinstance(bench.sent[0][0], Started)
    steps = [(message.step, message.total) for message, _ in bench.of(Progress, 1)]
    assert steps == [(step, 6) for step in range(1, 7)]


def test_a_image_between_two_multiples_is_cropped_to_its_exact_size(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.add(1, generation(width=70, height=65))
    bench.run()
    assert len(bench.of(Finished, 1)[0][1]) == 70 * 65 * 3


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_long_prompt_is_read_in_part_and_said_so(make_bench: MakeBench, scale: float) -> None:
    bench = make_bench()
    bench.add(1, generation("word " * 400, steps=1, true_cfg_scale=scale))
    bench.run()
    [(finished, _)] = bench.of(Finished, 1)
    assert any("the model read the first 1024" in warning for warning in finished.outcome.warnings)


def test_a_job_that_does_not_fit_says_so_and_its_memory_is_given_back(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    bench = make_bench()

    def fill_up(count: int) -> None:
        if count == 2:
            raise torch.OutOfMemoryError("full")

    bench.before_forward = fill_up
    bench.add(1, generation(prompt="too much"))
    bench.run()
    [(failure, _)] = bench.of(Failed, 1)
    assert failure.code == "out_of_memory"
    assert bench.released == 1
    bench.add(2, generation(prompt="small enough"))
    bench.run()
    [(_, raw)] = bench.of(Finished, 2)
    assert raw == plain_pipe(pipeline, generation(prompt="small enough"))


def test_a_batch_that_does_not_fit_is_served_one_by_one_and_the_next_ones_are_smaller(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    bench = make_bench()

    def full_from_three(count: int) -> None:
        if bench.batches[-1] >= 3:
            raise torch.OutOfMemoryError("full")

    bench.before_forward = full_from_three
    for job in (1, 2, 3):
        bench.add(job, generation(seed=job, steps=3))
    bench.run()
    assert bench.batches.count(3) == 1
    assert max(bench.batches[bench.batches.index(3) + 1 :]) == 2
    for job in (1, 2, 3):
        [(_, raw)] = bench.of(Finished, job)
        assert np.abs(pixels(raw) - pixels(plain_pipe(pipeline, generation(seed=job, steps=3)))).max() <= ONE_LEVEL


def test_a_image_that_does_not_fit_is_told_what_was_generated_before(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.add(1, generation(width=64, height=64))
    bench.run()

    def full(count: int) -> None:
        raise torch.OutOfMemoryError("full")

    bench.before_forward = full
    bench.add(2, generation(width=128, height=128))
    bench.run()
    [(failure, _)] = bench.of(Failed, 2)
    assert failure.sentence == (
        "The device's memory cannot hold a 128x128 image; ask for a smaller one of at most 4096 pixels, as one that "
        "was generated before."
    )


def test_a_image_that_was_decoded_in_tiles_says_so(pipeline: QwenImagePipeline, make_bench: MakeBench) -> None:
    bench, decode = make_bench(), pipeline.vae.decode
    tries = []

    def full_at_first(*arguments: Any, **options: Any) -> Any:
        tries.append(pipeline.vae.use_tiling)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("full")
        return decode(*arguments, **options)

    pipeline.vae.decode = full_at_first
    try:
        decode_in_tiles_when_full(pipeline.vae, bench.release)
        bench.add(1, generation())
        bench.run()
    finally:
        del pipeline.vae.decode
    [(answer, _)] = bench.of(Finished, 1)
    assert answer.outcome.warnings == (IN_TILES,)
    assert (tries, bench.released) == ([False, True], 1)


def test_a_deterministic_job_that_starts_from_a_image_is_bit_equal_beside_the_fast_encoder(
    pipeline: QwenImagePipeline, make_bench: MakeBench
) -> None:
    start = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    relative = as_class(pipeline, "QwenImageImg2ImgPipeline", {})

    def run(bench: Bench, job: int, wanted: Generation) -> bytes:
        bench.turns.add(Run(job=job, generation=wanted), start.tobytes())
        bench.run()
        return bytes(bench.of(Finished, job)[0][1])

    wanted = generation(
        deterministic=True, width=256, height=256, steps=4, source=Source(strength=0.5, digest="x")
    )  # fmt: skip
    image = relative(
        image=Image.fromarray(start), prompt=wanted.prompt, negative_prompt=wanted.negative_prompt, width=256,
        height=256, strength=0.5, num_inference_steps=4, true_cfg_scale=wanted.true_cfg_scale,
        max_sequence_length=1024, generator=torch.Generator("cpu").manual_seed(wanted.seed),
    ).images[0]  # fmt: skip
    encoded = []
    stock = pipeline.vae.encode
    pipeline.vae.encode = lambda *arguments, **options: (
        encoded.append(fast_convolutions()) or stock(*arguments, **options)
    )
    single_frame_vae.install()
    try:
        assert run(make_bench(), 1, wanted) == image.tobytes()
        run(make_bench(), 2, dataclasses.replace(wanted, deterministic=False))
    finally:
        del pipeline.vae.encode
    assert encoded == [False, True]
