"""Qwen-Image 2.1 generates and edits with one pipeline: to the bit what the stock one does, each image by itself."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.families.qwen_image_21 import MAX_PROMPT_TOKENS
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import on_white
from imageserver.generation import Generation, Lora, Source
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Preview, Progress
from imageserver.settings import Settings
from tests.support.engine_shop import Shop
from tests.support.factories import generation
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import load
from tests.support.tiny_qwen_image_21 import save_tiny_qwen_image_21, tiny_qwen_image_21

SIDE = 64


class Shop21(Shop):
    """One image of each generating, and what the stock pipeline generates."""

    def run(self, *wanted: tuple[Generation, bytes], **options: Any) -> list[np.ndarray]:
        """Generate as every shop does, and return the image of each."""
        return [image for [image] in super().run(*wanted, **options)]

    def plain(self, wanted: Generation, *images: Image.Image) -> np.ndarray:
        """Return what a plain call generates, its transparency laid on white."""
        scale = wanted.true_cfg_scale
        [generated] = self.stock(
            prompt=wanted.prompt, negative_prompt=wanted.negative_prompt if scale > 1 else None,
            image=list(images) or None, width=wanted.width, height=wanted.height, true_cfg_scale=scale,
            num_inference_steps=wanted.steps, generator=torch.Generator("cpu").manual_seed(wanted.seed),
            output_type="pt",
        ).images  # fmt: skip
        levels: np.ndarray = (on_white(generated) * 255).round().permute(1, 2, 0).numpy().astype(int)
        return levels


@pytest.fixture(scope="module")
def shop() -> Shop21:
    return Shop21(tiny_qwen_image_21())


@pytest.fixture(autouse=True)
def _without_gradients() -> None:
    torch.set_grad_enabled(False)


def wanted(prompt: str = "a cat", **fields: Any) -> Generation:
    return generation(prompt, **({"true_cfg_scale": 1.0} | fields))


def noise(seed: int = 0, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    "fields", [{}, {"width": 96, "steps": 5}, {"true_cfg_scale": 3.0, "negative_prompt": "blurry", "seed": 7}]
)
def test_alone_it_is_bit_equal_to_the_stock_pipeline(shop, fields):
    one = wanted(**fields)
    assert (shop.run((one, b""))[0] == shop.plain(one)).all()


def test_images_are_seen_and_each_by_itself(shop):
    images = [noise(0), noise(1, 96)]
    source = Source(strength=1.0, digest="x", further=((96, SIDE),))
    one = wanted("put both together", source=source, steps=2)
    [generated] = shop.run((one, b"".join(image.tobytes() for image in images)))
    assert (generated == shop.plain(one, *images)).all()


def test_images_generated_at_the_same_time_are_those_generated_alone(shop):
    ones = [wanted(), wanted("a story about a dog", seed=3, steps=6), wanted(seed=5, true_cfg_scale=2.0)]
    together = shop.run(*((one, b"") for one in ones))
    for one, generated in zip(ones, together, strict=True):
        assert (generated == shop.run((one, b""))[0]).all()


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(shop):
    [alone] = shop.run((wanted(previews=2), b""))
    assert sum(isinstance(message, Progress) for message, _ in shop.sent) == 4
    assert sum(isinstance(message, Preview) for message, _ in shop.sent) == 2
    [stays] = shop.run((wanted(), b""), (wanted(seed=9), b""), cancelled=1)
    assert [message.code for message, _ in shop.sent if isinstance(message, Failed)] == ["cancelled"]
    assert (stays == alone).all()


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(shop, tmp_path):
    path = save_lora(tmp_path, "red", shop.stock)
    folder = LoraFolder(tmp_path)
    adapters = LoraAdapters(shop.stock, "transformer", folder)
    lora = Lora(name="red", digest=folder.find(path.stem).digest)
    [before] = shop.run((wanted(), b""))
    [changed] = shop.run((wanted(loras=(lora,)), b""), adapters=adapters)
    assert (changed != before).any()
    adapters.unload("red")
    assert (shop.run((wanted(), b""))[0] == before).all()


def test_the_format_of_graphics_cards_serves_both_kinds_too():
    shop = Shop21(tiny_qwen_image_21())
    shop.stock.to(torch.bfloat16)
    for source in (None, Source(strength=1.0, digest="x")):
        [generated] = shop.run((wanted(previews=1, steps=2, source=source), noise().tobytes() if source else b""))
        assert generated.shape == (SIDE, SIDE, 3)


def test_masks_are_refused_by_name(shop):
    source = Source(strength=1.0, digest="x", masked=True)
    shop.run((wanted(source=source), bytes(SIDE * SIDE * 4)))
    [failed] = [message for message, _ in shop.sent if isinstance(message, Failed)]
    assert (failed.code, failed.param) == ("invalid_parameter", "mask")


def test_transparency_is_laid_on_white():
    image = torch.zeros(4, 1, 3)
    image[3] = torch.tensor([0.0, 0.5, 1.0])
    assert on_white(image)[0, 0].tolist() == [1.0, 0.5, 0.0]
    assert (on_white(image[:3]) == image[:3]).all()


def test_a_distilled_models_steps_are_its_own_unless_a_request_names_others():
    shop = Shop21(tiny_qwen_image_21(sample_sigmas=[1.0, 0.7, 0.4]))
    assert shop.family.defaults(shop.stock).steps == 3
    one = wanted(steps=3)
    assert (shop.run((one, b""))[0] == shop.plain(one)).all()
    shop.run((wanted(steps=5), b""))
    assert shop.forwards == 5


def test_long_prompts_are_cut_with_a_warning_and_tokens_are_counted(shop):
    reading = shop.family.token_usage(shop.stock, wanted("circle " * 900, width=100))
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 4096" in reading.warnings[0]
    # A token is 16 pixels wide, and sides are multiples of 32.
    assert shop.family.token_usage(shop.stock, wanted(width=70)).image_tokens == 4 * 6
    [long], [cut] = (shop.run((wanted(text, steps=1), b"")) for text in ("circle " * 900, ("circle " * 900)[:4096]))
    assert (long == cut).all()


def test_it_is_loaded_from_its_published_layout(tmp_path):
    save_tiny_qwen_image_21(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen3VLProcessor"]
    model = load(Settings(model=str(tmp_path), _env_file=None), lambda *report: None)
    assert (model.info.family, model.info.kinds) == ("qwen-image-2.1", ("text", "edit"))
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (40, 1.0)
    assert model.pipeline._drop_idx == tiny_qwen_image_21()._drop_idx
