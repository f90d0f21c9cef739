"""Models that edit see an image: alone to the bit what their stock pipelines generate, merged nearly so."""

import copy
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import family_of
from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.engine.models.warmup import capture_call
from imageserver.engine.pipelines import single_frame_vae
from imageserver.engine.pipelines.image_processor import ImageProcessor, load_image_processor
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation, Lora, Source
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, Message, Preview, Progress, Run
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import load

# Two tokens of the tiny model.
SIDE = 128


class Shop:
    """A tiny model behind a gate, and the stock pipeline beside it."""

    def __init__(self, plus: bool) -> None:
        self.stock: Any = tiny_models.tiny_qwen_image_edit(plus=plus)
        torch.set_grad_enabled(False)
        found = family_of(type(self.stock).__name__)
        assert found is not None
        self.family = found
        self.batches: list[int] = []
        self.sent: list[tuple[Message, bytes]] = []

    def run(
        self, *wanted: tuple[Generation, bytes], cancelled: int | None = None, adapters: LoraAdapters | None = None
    ) -> list[np.ndarray]:
        """Generate together, cancel one after the second forward, and return the others in order."""
        gate = Gate(self.stock.transformer)
        self.sent.clear()
        self.batches.clear()

        def forward(**arguments: Any) -> Any:
            self.batches.append(len(arguments["hidden_states"]))
            return gate.forward(**arguments)

        try:
            model = ServedModel(
                PipelineRunner(copy.copy(self.stock), self.family, adapters=adapters), forward,
                merger=self.family.merger,
                cap_of=lambda pixels: 8, adapters=adapters,
            )  # fmt: skip
            turns = StepScheduler({"": model}, lambda *frame: self.sent.append(frame))
            for number, (one, source) in enumerate(wanted):
                turns.add(Run(job=number, generation=one), source)
            while turns.busy:
                turns.step()
                if len(self.batches) == 2 and cancelled is not None:
                    turns.cancel(cancelled)
        finally:
            gate.remove()
        raws = {message.job: raw for message, raw in self.sent if isinstance(message, Finished)}
        return [
            np.frombuffer(raw, np.uint8).reshape(wanted[job][0].height, wanted[job][0].width, 3).astype(int)
            for job, raw in sorted(raws.items())
        ]

    def plain(self, wanted: Generation, *sources: tuple[tuple[int, int], bytes]) -> np.ndarray:
        """Return what a plain call generates from images, each with its size."""
        images = [Image.frombytes("RGB", size, pixels) for size, pixels in sources]
        scale = wanted.true_cfg_scale
        image = self.stock(
            image=images if len(images) > 1 else images[0], prompt=wanted.prompt,
            negative_prompt=wanted.negative_prompt if scale > 1 else None,
            width=wanted.width, height=wanted.height, num_inference_steps=wanted.steps, true_cfg_scale=scale,
            generator=torch.Generator("cpu").manual_seed(wanted.seed),
        ).images[0]  # fmt: skip
        return np.asarray(image).astype(int)

    def failure(self) -> Failed:
        """Return the one failure."""
        [failed] = [message for message, _ in self.sent if isinstance(message, Failed)]
        return failed


@pytest.fixture(scope="module", params=[False, True], ids=["edit", "2511"])
def shop(request) -> Shop:
    return Shop(request.param)


only_2511 = pytest.mark.parametrize("shop", [True], ids=["2511"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def _as_in_an_engine() -> None:
    torch.set_grad_enabled(False)
    single_frame_vae.install()


def edit(prompt: str = "make it blue", **fields: Any) -> Generation:
    """Return an instruction for an image."""
    fields = {"width": SIDE, "height": SIDE, "source": Source(strength=1.0, digest="x"), "steps": 3} | fields
    return generation(prompt, **fields)


def image(seed: int = 0, width: int = SIDE, height: int = SIDE) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, width * height * 3, np.uint8).tobytes()


def test_alone_it_is_bit_equal_to_the_stock_pipeline(shop):
    for fields in ({"true_cfg_scale": 1.0}, {"negative_prompt": "blurry", "seed": 4, "width": 192}):
        wanted = edit(deterministic=True, **fields)
        source = image(width=wanted.width)
        [generated] = shop.run((wanted, source))
        single_frame_vae.uninstall()
        assert (generated == shop.plain(wanted, ((wanted.width, SIDE), source))).all()
        single_frame_vae.install()


@only_2511
def test_several_images_are_seen_each_by_itself(shop):
    sizes = ((192, SIDE), (SIDE, 256))
    further = [image(seed, *size) for seed, size in enumerate(sizes, 1)]
    source = Source(strength=1.0, digest="x", further=sizes)
    wanted = edit(deterministic=True, source=source)
    [generated] = shop.run((wanted, image() + b"".join(further)))
    single_frame_vae.uninstall()
    assert (generated == shop.plain(wanted, ((SIDE, SIDE), image()), *zip(sizes, further, strict=True))).all()
    single_frame_vae.install()


@only_2511
def test_edits_of_as_many_images_share_forwards(shop):
    two = Source(strength=1.0, digest="x", further=((SIDE, SIDE),))
    wanted = [
        (edit(source=two), image(0) + image(1)),
        (edit("a hat", seed=3, steps=4, source=two), image(2) + image(3)),
        (edit("alone"), image(4)),
    ]
    together = shop.run(*wanted)
    assert max(shop.batches) == 2
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - shop.run(one)[0]).max() <= 1


def test_more_images_than_the_model_sees_are_refused_by_name(shop):
    further = ((SIDE, SIDE),) * shop.family.max_images
    shop.run((edit(source=Source(strength=1.0, digest="x", further=further)), image() * (1 + len(further))))
    assert (shop.failure().code, shop.failure().param) == ("invalid_parameter", "image")


def test_what_is_seen_decides_what_is_generated(shop):
    [one], [other] = shop.run((edit(), image(0))), shop.run((edit(), image(1)))
    assert (one != other).any()


def test_merged_images_are_those_generated_alone(shop):
    wanted = [
        (edit(), image(0)),
        (edit("a hat", seed=3, steps=4), image(1)),
        (edit("no guidance", seed=5, true_cfg_scale=1.0), image(2)),
    ]
    together = shop.run(*wanted)
    assert max(shop.batches) == 3
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - shop.run(one)[0]).max() <= 1


def test_images_of_another_shape_share_no_forward(shop):
    wanted = [(edit(), image(0)), (edit(width=256), image(1, width=256))]
    together = shop.run(*wanted)
    assert max(shop.batches) == 1
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - shop.run(one)[0]).max() <= 1


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(shop):
    [alone] = shop.run((edit(previews=2), image(0)))
    assert sum(isinstance(message, Progress) for message, _ in shop.sent) == 3
    assert sum(isinstance(message, Preview) for message, _ in shop.sent) == 2
    [stays] = shop.run((edit(), image(0)), (edit(seed=9), image(1)), cancelled=1)
    assert shop.failure().code == "cancelled"
    assert np.abs(stays - alone).max() <= 1


def test_text_alone_and_masks_are_refused_by_name(shop):
    for source, param in ((None, "image"), (Source(strength=1.0, digest="x", masked=True), "mask")):
        shop.run((edit(source=source), bytes(SIDE * SIDE * 4)))
        assert (shop.failure().code, shop.failure().param) == ("invalid_parameter", param)


def test_long_instructions_are_cut_with_a_warning(shop):
    wanted = edit("circle " * 900, true_cfg_scale=1.0, steps=1)
    reading = shop.family.token_usage(shop.stock, wanted)
    assert reading.prompt_tokens == MAX_PROMPT_TOKENS
    assert "the model read the first 1024" in reading.warnings[0]
    short = ("circle " * 900)[:MAX_PROMPT_TOKENS]
    [long], [cut] = shop.run((wanted, image())), shop.run((dataclasses.replace(wanted, prompt=short), image()))
    assert (long == cut).all()


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(shop, tmp_path):
    path = save_lora(tmp_path, "red", shop.stock)
    folder = LoraFolder(tmp_path)
    adapters = LoraAdapters(shop.stock, "transformer", folder)
    lora = Lora(name="red", digest=folder.find(path.stem).digest)
    [before] = shop.run((edit(), image()))
    [changed] = shop.run((edit(loras=(lora,)), image()), adapters=adapters)
    assert (changed != before).any()
    adapters.unload("red")
    assert (shop.run((edit(), image()))[0] == before).all()


def test_measurements_use_a_image_too(shop):
    gate = Gate(shop.stock.transformer)
    try:
        call = capture_call(PipelineRunner(copy.copy(shop.stock), shop.family), SIDE)
    finally:
        gate.remove()
    assert len(call["img_shapes"][0]) == 2


@pytest.mark.parametrize("plus", [False, True])
def test_it_is_loaded_from_its_published_layout(plus, tmp_path):
    tiny_models.save_tiny_qwen_image_edit(tmp_path, plus=plus)
    assert json.loads((tmp_path / "model_index.json").read_text())["processor"] == ["transformers", "Qwen2VLProcessor"]
    model = load(Settings(model=str(tmp_path), _env_file=None), lambda *report: None)
    assert (model.info.family, model.info.kinds) == ("qwen-image-edit" + "-plus" * plus, ("edit",))
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (40 if plus else 50, 4.0)
    assert model.info.max_images == (3 if plus else 1)


def test_the_processor_counts_a_images_tokens_and_leaves_its_pixels_to_the_stock_one(tmp_path):
    pipeline = tiny_models.tiny_qwen_image_edit()
    pipeline.processor.save_pretrained(tmp_path)
    processor = load_image_processor(tmp_path, ImageProcessor)
    shown = Image.frombytes("RGB", (SIDE, SIDE), image())
    read = processor(text=["<|image_pad|>a cat"], images=shown, padding=True, return_tensors="pt")
    stock = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)(images=[shown], return_tensors="pt")
    assert (read["pixel_values"] == stock["pixel_values"]).all()
    assert (read["image_grid_thw"] == stock["image_grid_thw"]).all()
    # Four patches make one token.
    tokens = int(stock["image_grid_thw"].prod()) // 4
    assert read["input_ids"][0].tolist() == (
        [processor.image_token_id] * tokens + pipeline.tokenizer("a cat").input_ids
    )
