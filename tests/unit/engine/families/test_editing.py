"""Models that edit see an image: alone to the bit what their stock pipelines generate, merged nearly so."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.engine.models.probe_calls import probe_call
from imageserver.engine.pipelines.image_processor import ImageProcessor, load_image_processor
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_a_lora_leaves_no_trace, assert_alike, difference
from tests.support.tiny_models import load

# As in an engine.
pytestmark = pytest.mark.usefixtures("fast_vae", "small_readings")

# Two tokens of the tiny model.
SIDE = 128


@pytest.fixture
def small_readings(monkeypatch) -> None:
    """Read images at 256 x 256, where the pipelines read them at a megapixel: the stock VAE's convolutions are slow."""
    for pipeline in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        stock = pipeline.calculate_dimensions
        monkeypatch.setattr(pipeline, "calculate_dimensions", lambda area, ratio, stock=stock: stock(area // 16, ratio))


@pytest.fixture(scope="module", params=[False, True], ids=["edit", "2511"])
def engine(request) -> TinyEngine:
    return TinyEngine(tiny_models.tiny_qwen_image_edit(plus=request.param))


only_2511 = pytest.mark.parametrize("engine", [True], ids=["2511"], indirect=True, scope="module")


def edit(prompt: str = "make it blue", **fields: Any) -> Generation:
    """Return an instruction for an image."""
    fields = {"width": SIDE, "height": SIDE, "source": Source(strength=1.0, digest="x"), "steps": 3} | fields
    return generation(prompt, **fields)


def image(seed: int = 0, width: int = SIDE, height: int = SIDE) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, width * height * 3, np.uint8).tobytes()


def shown(data: bytes, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.frombytes("RGB", size, data)


def test_alone_it_is_bit_equal_to_the_stock_pipeline(engine):
    for fields in ({"true_cfg_scale": 1.0}, {"negative_prompt": "blurry", "seed": 4, "width": 192}):
        wanted = edit(deterministic=True, **fields)
        source = image(width=wanted.width)
        [generated] = engine.generate((wanted, source))
        assert (generated == engine.plain(wanted, image=shown(source, (wanted.width, SIDE)))).all()


@only_2511
def test_several_images_are_seen_each_by_itself(engine):
    sizes = ((192, SIDE), (SIDE, 256))
    further = [image(seed, *size) for seed, size in enumerate(sizes, 1)]
    source = Source(strength=1.0, digest="x", further=sizes)
    wanted = edit(deterministic=True, source=source)
    [generated] = engine.generate((wanted, image() + b"".join(further)))
    images = [shown(image()), *map(shown, further, sizes)]
    assert (generated == engine.plain(wanted, image=images)).all()


@only_2511
def test_edits_of_as_many_images_share_forwards(engine):
    two = Source(strength=1.0, digest="x", further=((SIDE, SIDE),))
    wanted = [
        (edit(source=two), image(0) + image(1)),
        (edit("a hat", seed=3, steps=4, source=two), image(2) + image(3)),
        (edit("alone"), image(4)),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) == 4
    assert_alike(engine, wanted, together)


def test_more_images_than_the_model_sees_are_refused_by_name(engine):
    further = ((SIDE, SIDE),) * engine.family.max_images
    wanted = edit(source=Source(strength=1.0, digest="x", further=further))
    [failure] = engine.generate((wanted, image() * (1 + len(further))))
    assert (failure.code, failure.param) == ("invalid_parameter", "image")


def test_what_is_seen_decides_what_is_generated(engine):
    one, other = engine.generate((edit(), image(0)), (edit(), image(1)))
    assert (one != other).any()


def test_merged_images_are_those_generated_alone(engine):
    wanted = [
        (edit(), image(0)),
        (edit("a hat", seed=3, steps=4), image(1)),
        (edit("no guidance", seed=5, true_cfg_scale=1.0), image(2)),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) == 5
    assert_alike(engine, wanted, together)


def test_images_of_another_shape_share_no_forward(engine):
    wanted = [
        (edit(true_cfg_scale=1.0), image(0)),
        (edit(true_cfg_scale=1.0, width=256), image(1, width=256)),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) == 1
    assert_alike(engine, wanted, together)


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(engine):
    [alone] = engine.generate((edit(steps=4, previews=2), image(0)))
    assert (len(engine.of(Progress)), len(engine.of(Preview))) == (4, 2)
    stays, gone = engine.generate((edit(steps=4), image(0)), (edit(steps=4, seed=9), image(1)), cancelled=1)
    assert gone.code == "cancelled"
    assert difference(stays, alone) <= 1


def test_text_alone_and_masks_are_refused_by_name(engine):
    for source, param in ((None, "image"), (Source(strength=1.0, digest="x", masked=True), "mask")):
        [failure] = engine.generate((edit(source=source), bytes(SIDE * SIDE * 4)))
        assert (failure.code, failure.param) == ("invalid_parameter", param)


def test_long_instructions_are_cut_with_a_warning(engine):
    wanted = edit("circle " * 900, true_cfg_scale=1.0, steps=1)
    reading = engine.runner.token_usage(wanted)
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 1024" in reading.warnings[0]
    short = ("circle " * 900)[:MAX_PROMPT_TOKENS]
    wanted_cut = dataclasses.replace(wanted, prompt=short)
    [long], [cut] = engine.generate((wanted, image())), engine.generate((wanted_cut, image()))
    assert (long == cut).all()


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(engine, tmp_path):
    assert_a_lora_leaves_no_trace(engine, tmp_path, edit, image())


def test_measurements_use_an_image_too(engine):
    assert len(probe_call(engine.runner, SIDE)["img_shapes"][0]) == 2


@pytest.mark.parametrize("plus", [False, True])
def test_it_is_loaded_from_its_published_layout(plus, tmp_path):
    tiny_models.save_tiny_qwen_image_edit(tmp_path, plus=plus)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen2VLProcessor"]
    model = load(Settings(model=str(tmp_path), _env_file=None))
    assert (model.info.family, model.info.kinds) == ("qwen-image-edit" + "-plus" * plus, ("edit",))
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (40 if plus else 50, 4.0)
    assert model.info.max_images == (3 if plus else 1)


def test_the_processor_counts_an_images_tokens_and_leaves_its_pixels_to_the_stock_one(tmp_path):
    pipeline = tiny_models.tiny_qwen_image_edit()
    pipeline.processor.save_pretrained(tmp_path)
    processor = load_image_processor(tmp_path, ImageProcessor)
    read = processor(text=["<|image_pad|>a cat"], images=shown(image()), padding=True, return_tensors="pt")
    stock = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)(images=[shown(image())], return_tensors="pt")
    assert (read["pixel_values"] == stock["pixel_values"]).all()
    assert (read["image_grid_thw"] == stock["image_grid_thw"]).all()
    # Four patches make one token.
    tokens = int(stock["image_grid_thw"].prod()) // 4
    assert read["input_ids"][0].tolist() == (
        [processor.image_token_id] * tokens + pipeline.tokenizer("a cat").input_ids
    )
