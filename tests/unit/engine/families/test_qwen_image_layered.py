"""Qwen-Image-Layered takes an image apart: to the bit the layers of the stock pipeline, with their transparency."""

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.families import family_of
from imageserver.engine.models.warmup import capture_call
from imageserver.engine.pipelines import single_frame_vae
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.engine.runner.safety_checker import SafetyChecker
from imageserver.generation import Generation, Lora, Source, layer_size
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.engine_shop import Shop
from tests.support.factories import generation
from tests.support.tiny_loras import save_lora
from tests.support.tiny_qwen_image_layered import save_tiny_qwen_image_layered, tiny_qwen_image_layered

SIDE = 640
SOURCE = Source(strength=1.0, digest="x")


class LayeredShop(Shop):
    """What the stock pipeline makes of the same image."""

    def plain(self, wanted: Generation, image: Image.Image) -> np.ndarray:
        """Return the layers of a plain call."""
        scale = wanted.true_cfg_scale
        [layers] = self.stock(
            image=image.convert("RGBA"), prompt=wanted.prompt, true_cfg_scale=scale, layers=wanted.layers or 4,
            negative_prompt=wanted.negative_prompt if scale > 1 else None, num_inference_steps=wanted.steps,
            generator=torch.Generator("cpu").manual_seed(wanted.seed), resolution=640,
        ).images  # fmt: skip
        return np.stack([np.asarray(layer) for layer in layers]).astype(int)


@pytest.fixture(scope="module")
def shop() -> LayeredShop:
    return LayeredShop(tiny_qwen_image_layered())


@pytest.fixture(autouse=True)
def _as_in_an_engine() -> None:
    torch.set_grad_enabled(False)
    single_frame_vae.install()


def apart(prompt: str = "a cat before a house", **fields: Any) -> Generation:
    """Return an image to take apart."""
    usual = {"width": SIDE, "height": SIDE, "source": SOURCE, "steps": 2, "layers": 2, "true_cfg_scale": 1.0}
    return generation(prompt, **(usual | fields))


def noise(seed: int = 0, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"layers": 0}, (4, SIDE, SIDE, 4)),
        ({"layers": 1, "true_cfg_scale": 3.0, "negative_prompt": "blurry", "seed": 4}, (1, SIDE, SIDE, 4)),
        ({"width": 120, "height": 80}, (2, 512, 768, 4)),
    ],
    ids=["usual number", "guided", "another shape and size"],
)
def test_alone_the_layers_are_bit_equal_to_the_stock_pipelines(shop, fields, shape):
    wanted = apart(deterministic=True, **fields)
    image = noise(0, wanted.width, wanted.height)
    [layers] = shop.run((wanted, image.tobytes()))
    single_frame_vae.uninstall()
    assert layers.shape == shape
    assert (layers == shop.plain(wanted, image)).all()
    single_frame_vae.install()
    # They are no copies of each other, and their transparency is generated too.
    assert len({layer.tobytes() for layer in layers}) == len(layers)
    assert len(np.unique(layers[..., 3])) > 1


def test_several_generations_come_one_after_the_other_each_with_its_seed(shop):
    [both] = shop.run((apart(count=2, seed=7), noise().tobytes()))
    outcome = shop.finished().outcome
    assert (outcome.layers, outcome.channels, outcome.seeds) == (2, 4, (7, 7, 8, 8))
    [second] = shop.run((apart(seed=8), noise().tobytes()))
    assert (both[2:] == second).all()


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(shop):
    [alone] = shop.run((apart(previews=1, steps=3), noise().tobytes()))
    assert sum(isinstance(message, Progress) for message, _ in shop.sent) == 3
    [preview] = [message for message, _ in shop.sent if isinstance(message, Preview)]
    assert (preview.width * preview.scale, preview.height * preview.scale) == (SIDE, SIDE)
    ones = (apart(steps=3), noise().tobytes()), (apart(seed=9, steps=3), noise(1).tobytes())
    [stays] = shop.run(*ones, cancelled=1)
    assert shop.failure().code == "cancelled"
    assert (stays == alone).all()


def test_the_format_of_graphics_cards_serves_layers_too():
    shop = LayeredShop(tiny_qwen_image_layered())
    shop.stock.to(torch.bfloat16)
    [layers] = shop.run((apart(previews=1, true_cfg_scale=3.0), noise().tobytes()))
    assert layers.shape == (2, SIDE, SIDE, 4)


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(shop, tmp_path):
    path = save_lora(tmp_path, "red", shop.stock)
    folder = LoraFolder(tmp_path)
    adapters = LoraAdapters(shop.stock, "transformer", folder)
    lora = Lora(name="red", digest=folder.find(path.stem).digest)
    [before] = shop.run((apart(), noise().tobytes()))
    [changed] = shop.run((apart(loras=(lora,)), noise().tobytes()), adapters=adapters)
    assert (changed != before).any()
    adapters.unload("red")
    assert (shop.run((apart(), noise().tobytes()))[0] == before).all()


def test_what_it_cannot_do_is_refused_by_name(shop):
    masked, several = replace(SOURCE, masked=True), replace(SOURCE, further=((64, 64),))
    for source, param in ((None, "image"), (masked, "mask"), (several, "image")):
        shop.run((apart(source=source), bytes(SIDE * SIDE * 4)))
        assert (shop.failure().code, shop.failure().param) == ("invalid_parameter", param)


def test_another_model_refuses_layers_by_name():
    runner = PipelineRunner(tiny_models.tiny_qwen_image(), family_of("QwenImagePipeline"))
    with pytest.raises(Exception, match=r"^The model \(qwen-image\) does not separate images into layers"):
        runner.run(generation(layers=2), 0, lambda look: None)


def test_a_blank_prompt_lets_the_model_describe_the_image(shop, monkeypatch):
    told = []

    def describe(image: Image.Image, use_en_prompt: bool, device: torch.device) -> str:
        told.append((image.size, use_en_prompt))
        return "a cat before a house"

    monkeypatch.setattr(shop.stock, "get_image_caption", describe)
    [described] = shop.run((apart(" "), noise().tobytes()))
    assert told == [((SIDE, SIDE), True)]
    assert (described == shop.run((apart(), noise().tobytes()))[0]).all()


def test_the_safety_checker_looks_at_every_layer_on_white(shop):
    seen = []

    class Checker(SafetyChecker):
        def __init__(self) -> None:
            super().__init__(None, None)

        def unsafe(self, pixels: bytes, shape: tuple[int, int, int]) -> tuple[bool, ...]:
            seen.append(shape)
            return (False, True)

    [layers] = shop.run((apart(), noise().tobytes()), safety=Checker())
    assert seen == [(SIDE, SIDE, 4)]
    assert layers[0].any()
    assert not layers[1].any()


def test_tokens_are_those_of_the_whole_and_of_its_layers(shop):
    reading = shop.family.token_usage(shop.stock, apart(width=100, height=100, layers=3, count=2))
    assert reading.image_tokens == 4 * 20 * 20 * 2


def test_measurements_take_a_image_apart_too(shop):
    gate = Gate(shop.stock.transformer)
    try:
        call = capture_call(PipelineRunner(copy.copy(shop.stock), shop.family), 256)
    finally:
        gate.remove()
    # The whole, four layers and the image itself.
    assert len(call["img_shapes"][0]) == 6


@pytest.mark.parametrize(
    ("image", "layers"),
    [((100, 100), (640, 640)), ((4000, 3000), (736, 544)), ((64, 4096), (64, 5120)), ((640, 640), (640, 640))],
)
def test_the_shape_alone_decides_the_size_of_layers(image, layers):
    assert layer_size(*image) == layers


def test_it_is_loaded_from_its_published_layout(tmp_path):
    save_tiny_qwen_image_layered(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen2VLProcessor"]
    model = tiny_models.load(Settings(model=str(tmp_path), _env_file=None), lambda *report: None)
    assert (model.info.family, model.info.kinds, model.info.layers) == ("qwen-image-layered", ("edit",), 4)
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (50, 4.0)
