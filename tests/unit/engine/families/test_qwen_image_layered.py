"""Qwen-Image-Layered takes an image apart: to the bit the layers of the stock pipeline, with their transparency."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.models.probe_calls import probe_call
from imageserver.engine.runner.safety_checker import SafetyChecker
from imageserver.generation import Generation, Source, layer_size
from imageserver.protocol.messages import Finished, Preview, Progress
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_a_lora_leaves_no_trace
from tests.support.tiny_qwen_image_layered import save_tiny_qwen_image_layered, tiny_qwen_image_layered

# As in an engine.
pytestmark = pytest.mark.usefixtures("fast_vae")

SIDE = 640
SOURCE = Source(strength=1.0, digest="x")


@pytest.fixture(scope="module")
def engine() -> TinyEngine:
    return TinyEngine(tiny_qwen_image_layered())


def apart(prompt: str = "a cat before a house", **fields: Any) -> Generation:
    """Return an image to take apart, into one layer unless the fields say more: every layer is 640 x 640 to the VAE."""
    defaults = {"width": SIDE, "height": SIDE, "source": SOURCE, "steps": 2, "layers": 1, "true_cfg_scale": 1.0}
    return generation(prompt, **(defaults | fields))


def noise(seed: int = 0, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"layers": 0}, (4, SIDE, SIDE, 4)),
        ({"true_cfg_scale": 3.0, "negative_prompt": "blurry", "seed": 4}, (1, SIDE, SIDE, 4)),
        ({"width": 120, "height": 80, "layers": 2}, (2, 512, 768, 4)),
    ],
    ids=["default number", "guided", "another shape and size"],
)
def test_alone_the_layers_are_bit_equal_to_the_stock_pipelines(engine, fields, shape):
    wanted = apart(deterministic=True, **fields)
    image = noise(0, wanted.width, wanted.height)
    [layers] = engine.generate((wanted, image.tobytes()))
    given = {"image": image.convert("RGBA"), "layers": wanted.layers or 4, "resolution": 640}
    assert layers.shape == shape
    assert (layers == engine.plain(wanted, **given)).all()
    # They are no copies of each other, and their transparency is generated too.
    assert len({layer.tobytes() for layer in layers}) == len(layers)
    assert len(np.unique(layers[..., 3])) > 1


def test_several_generations_come_one_after_the_other_each_with_its_seed(engine):
    [both] = engine.generate((apart(count=2, layers=2, seed=7), noise().tobytes()))
    [(finished, _)] = engine.of(Finished)
    assert (finished.outcome.layers, finished.outcome.channels, finished.outcome.seeds) == (2, 4, (7, 7, 8, 8))
    [second] = engine.generate((apart(layers=2, seed=8), noise().tobytes()))
    assert (both[2:] == second).all()


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(engine):
    [alone] = engine.generate((apart(previews=1, steps=3), noise().tobytes()))
    assert len(engine.of(Progress)) == 3
    [(preview, _)] = engine.of(Preview)
    assert (preview.width * preview.scale, preview.height * preview.scale) == (SIDE, SIDE)
    ones = (apart(steps=3), noise().tobytes()), (apart(seed=9, steps=3), noise(1).tobytes())
    stays, gone = engine.generate(*ones, cancelled=1)
    assert gone.code == "cancelled"
    assert (stays == alone).all()


def test_the_format_of_graphics_cards_serves_layers_too():
    engine = TinyEngine(tiny_qwen_image_layered().to(torch.bfloat16))
    [layers] = engine.generate((apart(previews=1, true_cfg_scale=3.0), noise().tobytes()))
    assert layers.shape == (1, SIDE, SIDE, 4)


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(engine, tmp_path):
    assert_a_lora_leaves_no_trace(engine, tmp_path, apart, noise().tobytes())


def test_what_it_cannot_do_is_refused_by_name(engine):
    masked, several = replace(SOURCE, masked=True), replace(SOURCE, further=((64, 64),))
    for source, param in ((None, "image"), (masked, "mask"), (several, "image")):
        [failure] = engine.generate((apart(source=source), bytes(SIDE * SIDE * 4)))
        assert (failure.code, failure.param) == ("invalid_parameter", param)


def test_another_model_refuses_layers_by_name():
    [failure] = TinyEngine(tiny_models.tiny_qwen_image()).generate(generation(layers=2))
    assert failure.sentence.startswith("The model (qwen-image) does not separate images into layers")


def test_a_blank_prompt_lets_the_model_describe_the_image(engine, monkeypatch):
    told = []

    def describe(image: Image.Image, use_en_prompt: bool, device: torch.device) -> str:
        told.append((image.size, use_en_prompt))
        return "a cat before a house"

    monkeypatch.setattr(engine.pipeline, "get_image_caption", describe)
    [described] = TinyEngine(engine.pipeline).generate((apart(" "), noise().tobytes()))
    assert told == [((SIDE, SIDE), True)]
    assert (described == engine.generate((apart(), noise().tobytes()))[0]).all()


def test_the_safety_checker_looks_at_every_layer_on_white(engine):
    seen = []

    class Checker(SafetyChecker):
        def __init__(self) -> None:
            super().__init__(None, None)

        def unsafe(self, pixels: bytes, shape: tuple[int, int, int]) -> tuple[bool, ...]:
            seen.append(shape)
            return (False, True)

    [layers] = TinyEngine(engine.pipeline, safety=Checker()).generate((apart(layers=2), noise().tobytes()))
    assert seen == [(SIDE, SIDE, 4)]
    assert layers[0].any()
    assert not layers[1].any()


def test_tokens_are_those_of_the_whole_and_of_its_layers(engine):
    reading = engine.runner.token_usage(apart(width=100, height=100, layers=3, count=2))
    assert reading.image_tokens == 4 * 20 * 20 * 2


def test_measurements_take_an_image_apart_too(engine):
    call = probe_call(engine.runner, 256)
    # The whole, four layers and the image itself, each with the tokens of a tiny model; a published one has 1600.
    assert len(call["img_shapes"][0]) == 6
    assert call["hidden_states"].shape[1] == 6 * 20 * 20


@pytest.mark.parametrize(
    ("image", "layers"),
    [((100, 100), (640, 640)), ((4000, 3000), (736, 544)), ((64, 4096), (64, 5120)), ((640, 640), (640, 640))],
)
def test_the_shape_alone_decides_the_size_of_layers(image, layers):
    assert layer_size(*image) == layers


def test_it_is_loaded_from_its_published_layout(tmp_path):
    save_tiny_qwen_image_layered(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen2VLProcessor"]
    model = tiny_models.load(Settings(model=str(tmp_path), _env_file=None))
    assert (model.info.family, model.info.kinds, model.info.layers) == ("qwen-image-layered", ("edit",), 4)
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (50, 4.0)
