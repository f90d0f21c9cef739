"""Qwen-Image 2.1 generates and edits with one pipeline: to the bit what the stock one does, each image by itself."""

import json
from typing import Any

import pytest
import torch

from imageserver.engine.families.qwen_image_21 import MAX_PROMPT_TOKENS
from imageserver.engine.runner.finished_pixels import on_white
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.images import noise
from tests.support.tiny_engine import TinyEngine, assert_a_lora_leaves_no_trace
from tests.support.tiny_models import load
from tests.support.tiny_qwen_image_21 import save_tiny_qwen_image_21, tiny_qwen_image_21

SIDE = 64


@pytest.fixture(scope="module")
def engine() -> TinyEngine:
    return TinyEngine(tiny_qwen_image_21())


def wanted(prompt: str = "a cat", **fields: Any) -> Generation:
    return generation(prompt, **({"true_cfg_scale": 1.0} | fields))


@pytest.mark.parametrize(
    "fields", [{}, {"width": 96, "steps": 5}, {"true_cfg_scale": 3.0, "negative_prompt": "blurry", "seed": 7}]
)
def test_alone_it_is_bit_equal_to_the_stock_pipeline(engine, fields):
    one = wanted(**fields)
    assert (engine.generate(one)[0] == engine.plain(one, output_type="pt")).all()


def test_images_are_seen_and_each_by_itself(engine):
    images = [noise(0), noise(1, 96)]
    source = Source(strength=1.0, digest="x", further=((96, SIDE),))
    one = wanted("put both together", source=source, steps=2)
    [generated] = engine.generate((one, b"".join(image.tobytes() for image in images)))
    assert (generated == engine.plain(one, image=images, output_type="pt")).all()


def test_images_generated_at_the_same_time_are_those_generated_alone(engine):
    ones = [wanted(), wanted("a story about a dog", seed=3, steps=6), wanted(seed=5, true_cfg_scale=2.0)]
    for one, generated in zip(ones, engine.generate(*ones), strict=True):
        assert (generated == engine.generate(one)[0]).all()


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(engine):
    [alone] = engine.generate(wanted(previews=2))
    assert (len(engine.of(Progress)), len(engine.of(Preview))) == (4, 2)
    stays, gone = engine.generate(wanted(), wanted(seed=9), cancelled=1)
    assert gone.code == "cancelled"
    assert (stays == alone).all()


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(engine, tmp_path):
    assert_a_lora_leaves_no_trace(engine, tmp_path, wanted)


def test_the_format_of_graphics_cards_serves_both_kinds_too():
    engine = TinyEngine(tiny_qwen_image_21().to(torch.bfloat16))
    [generated] = engine.generate(wanted(previews=1, steps=2))
    edit = wanted(previews=1, steps=2, source=Source(strength=1.0, digest="x"))
    [edited] = engine.generate((edit, noise().tobytes()))
    assert generated.shape == edited.shape == (SIDE, SIDE, 3)


def test_masks_are_refused_by_name(engine):
    source = Source(strength=1.0, digest="x", masked=True)
    [failed] = engine.generate((wanted(source=source), bytes(SIDE * SIDE * 4)))
    assert (failed.code, failed.param) == ("invalid_parameter", "mask")


def test_transparency_is_laid_on_white():
    image = torch.zeros(4, 1, 3)
    image[3] = torch.tensor([0.0, 0.5, 1.0])
    assert on_white(image)[0, 0].tolist() == [1.0, 0.5, 0.0]
    assert (on_white(image[:3]) == image[:3]).all()


def test_a_distilled_models_steps_are_its_own_unless_a_request_names_others():
    engine = TinyEngine(tiny_qwen_image_21(sample_sigmas=[1.0, 0.7, 0.4]))
    assert engine.family.defaults(engine.pipeline).steps == 3
    one = wanted(steps=3)
    assert (engine.generate(one)[0] == engine.plain(one, output_type="pt")).all()
    engine.generate(wanted(steps=5))
    assert len(engine.batches) == 5


def test_long_prompts_are_cut_with_a_warning_and_tokens_are_counted(engine):
    reading = engine.runner.token_usage(wanted("circle " * 900, width=100))
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 4096" in reading.warnings[0]
    # A token is 16 pixels wide, and sides are multiples of 32.
    assert engine.runner.token_usage(wanted(width=70)).image_tokens == 4 * 6
    [long], [cut] = (engine.generate(wanted(text, steps=1)) for text in ("circle " * 900, ("circle " * 900)[:4096]))
    assert (long == cut).all()


def test_it_is_loaded_from_its_published_layout(engine, tmp_path):
    save_tiny_qwen_image_21(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen3VLProcessor"]
    model = load(Settings(model=str(tmp_path), _env_file=None))
    assert (model.info.family, model.info.kinds) == ("qwen-image-2.1", ("text", "edit"))
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (40, 1.0)
    assert (TinyEngine(model.pipeline).generate(wanted())[0] == engine.generate(wanted())[0]).all()
