"""Where the device's memory runs out, and where the device is lost: what happens to the image and its neighbours."""

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imageserver.engine.pipelines.decoding.tiles import IN_TILES, decode_in_tiles_when_full
from imageserver.engine.runner import lora_adapters
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Control, Generation, Lora, Source
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Finished, LoraRequest, Run
from imageserver.telemetry.logs import current_request, current_trace
from tests.support.device_errors import DEVICE_LOST, OUT_OF_MEMORY, Ended
from tests.support.factories import generation
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_engine import TinyEngine, Wanted, difference
from tests.support.tiny_loras import save_lora

NO_PIXELS = np.zeros((64, 64, 3), np.uint8).tobytes()


def named(error: Exception) -> str:
    return str(error)[:30]


def unguided(**fields: Any) -> Generation:
    """Return a generation of one call a step, which is alone in its forward where no other image is there."""
    return generation(true_cfg_scale=1.0, **fields)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.fault(5)
@pytest.mark.parametrize("error", OUT_OF_MEMORY[1:4], ids=named)
def test_a_batch_that_does_not_fit_is_tried_one_by_one_whatever_the_error_is_called(
    engine: TinyEngine, error: Exception
) -> None:
    def full_from_two() -> None:
        if engine.batches[-1] >= 2:
            raise error

    engine.before_forward = full_from_two
    wanted = [unguided(seed=seed) for seed in (1, 2)]
    for one, image in zip(wanted, engine.generate(*wanted), strict=True):
        assert (image == engine.plain(one)).all()
    assert engine.batches.count(2) == 1


def _in_the_denoiser(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    engine.before_forward = raising(error)
    return generation()


def _in_the_text_encoder(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    monkeypatch.setattr(engine.pipeline.text_encoder, "forward", raising(error))
    return generation("a prompt that was not read before")


def _in_the_encoding_of_a_source(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    monkeypatch.setattr(engine.pipeline.vae, "encode", raising(error))
    return generation(source=Source(strength=0.5, digest="x")), NO_PIXELS


def _in_the_decoding(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    monkeypatch.setattr(engine.pipeline.vae, "decode", raising(error))
    return generation()


def _in_the_control_net(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    monkeypatch.setattr(engine.control, "forward", raising(error))
    return generation(controls=(Control(scale=1.0, start=0.0, end=1.0, digest="x"),)), NO_PIXELS


def _in_the_safety_checker(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Wanted:
    checker: Any = type("Checker", (), {"unsafe": raising(error)})()
    monkeypatch.setattr(engine.scheduler, "_safety", checker)
    return generation()


PLACES = [
    _in_the_denoiser, _in_the_text_encoder, _in_the_encoding_of_a_source, _in_the_decoding, _in_the_control_net,
    _in_the_safety_checker,
]  # fmt: skip


@pytest.fixture
def guided(engine: TinyEngine) -> TinyEngine:
    """An engine with everything that can fail."""
    return TinyEngine(engine.pipeline, control=tiny_control(engine.pipeline))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_an_image_that_does_not_fit_is_refused_wherever_that_shows(
    guided: TinyEngine, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    for error in OUT_OF_MEMORY[1:3]:
        with monkeypatch.context() as patched:
            [failure] = guided.generate(place(guided, patched, error))
        guided.before_forward = lambda: None
        assert failure.code == "out_of_memory"
    assert (guided.generate(unguided())[0] == guided.plain(unguided())).all()


@pytest.mark.fault(4)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_lost_device_ends_the_engine_wherever_that_shows(
    guided: TinyEngine, monkeypatch: pytest.MonkeyPatch, ended: list[int], place: Any
) -> None:
    wanted = place(guided, monkeypatch, DEVICE_LOST[0])
    with pytest.raises(Ended):
        guided.generate(wanted)
    assert ended == [70]


def test_a_lost_device_ends_the_engine_before_a_batch_is_tried_again(
    engine: TinyEngine, ended: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    engine.before_forward = raising(DEVICE_LOST[0])
    with pytest.raises(Ended):
        engine.generate(unguided(seed=1), unguided(seed=2))
    assert (ended, engine.batches, engine.released) == ([70], [2], 0)
    last = caplog.records[-1]
    assert (last.levelno, last.message) == (logging.CRITICAL, "The device is lost; the engine ends.")


def test_every_line_of_a_generation_has_its_request_and_its_trace(
    engine: TinyEngine, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[int | None, str]] = []

    def fail() -> None:
        raise ValueError("a bug")

    engine.before_forward = fail
    read = engine.model.runner.run

    def run(*arguments: Any) -> Any:
        seen.append((current_request.get(), current_trace.get()))
        return read(*arguments)

    engine.model.runner.run = run  # type: ignore[method-assign]
    engine.scheduler.add(Run(job=7, generation=unguided(), trace_id="4bf9"))
    engine.run()
    [record] = [record for record in caplog.records if record.message == "The generation failed."]
    assert (record.request_id, record.trace_id, seen) == (7, "4bf9", [(7, "4bf9")])  # type: ignore[attr-defined]


@pytest.mark.parametrize("others", [0, 1])
def test_the_failed_forwards_tensors_are_free_when_memory_is_released(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    held: list[Any] = []
    alive: list[bool] = []

    def fail() -> None:
        activations = torch.ones(1000)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("full")

    engine.before_forward = fail
    monkeypatch.setattr(engine, "release", lambda: alive.append(held[-1]() is not None))
    engine.scheduler._release_memory = engine.release
    failures = engine.generate(*(unguided(seed=seed) for seed in range(1 + others)))
    assert {failure.code for failure in failures} == {"out_of_memory"}
    assert alive == [False] * (1 if others == 0 else 3)


@pytest.mark.fault(5)
@pytest.mark.parametrize("error", OUT_OF_MEMORY[1:4], ids=named)
def test_a_decoding_that_does_not_fit_is_tried_in_tiles_whatever_the_error_is_called(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    vae, decode = engine.pipeline.vae, engine.pipeline.vae.decode
    monkeypatch.setattr(
        vae, "decode", lambda *given, **options: decode(*given, **options) if vae.use_tiling else raising(error)()
    )
    decode_in_tiles_when_full(vae, engine.release)
    image = engine.generate(generation())[0]
    [(answer, _)] = engine.of(Finished)
    assert answer.outcome.warnings == (IN_TILES,)
    assert difference(image, engine.plain(generation())) <= 1


def test_a_forward_that_does_not_fit_limits_other_sizes_too(engine: TinyEngine) -> None:
    def full_from_two() -> None:
        if engine.batches[-1] >= 2:
            raise torch.OutOfMemoryError("full")

    engine.before_forward = full_from_two
    engine.generate(*(unguided(seed=seed) for seed in (1, 2)))
    larger = unguided(width=96, height=96, steps=2)
    engine.generate(larger, larger)
    assert set(engine.batches) == {1}
    smaller = unguided(width=32, height=32, steps=1)
    engine.before_forward = lambda: None
    engine.generate(smaller, smaller)
    assert engine.batches == [2]


@pytest.fixture
def with_lora(engine: TinyEngine, tmp_path: Path) -> tuple[TinyEngine, Lora]:
    """An engine that can load a LoRA, and the LoRA."""
    save_lora(tmp_path, "red", engine.pipeline)
    folder = LoraFolder(tmp_path)
    adapted = TinyEngine(engine.pipeline, adapters=LoraAdapters(engine.pipeline, "transformer", folder))
    return adapted, Lora(name="red", digest=folder.find("red").digest)


@pytest.mark.parametrize("error", OUT_OF_MEMORY[:2], ids=named)
def test_a_lora_that_does_not_fit_into_memory_is_no_fault_of_its_file(
    with_lora: tuple[TinyEngine, Lora], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine, lora = with_lora
    monkeypatch.setattr(lora_adapters, "install", raising(error))
    answer = engine.scheduler.change_loras(LoraRequest(job=2, load=lora))
    assert answer.failure is not None
    [failure] = engine.generate(generation(loras=(lora,)))
    for told in (answer.failure, failure):
        assert (told.code, told.sentence) == ("out_of_memory", "The device's memory cannot hold red beside the model.")
    assert engine.released == 2
    assert (engine.generate(unguided())[0] == engine.plain(unguided())).all()


def test_a_device_that_is_lost_while_a_lora_is_loaded_ends_the_engine(
    with_lora: tuple[TinyEngine, Lora], monkeypatch: pytest.MonkeyPatch, ended: list[int]
) -> None:
    engine, lora = with_lora
    monkeypatch.setattr(lora_adapters, "install", raising(DEVICE_LOST[0]))
    with pytest.raises(Ended):
        engine.generate(generation(loras=(lora,)))
    assert ended == [70]
