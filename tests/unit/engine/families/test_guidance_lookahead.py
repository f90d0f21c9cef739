"""Every pipeline that calls its denoiser twice a step is foreseen from its first step on, and generates the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus

from imageserver.engine.families import FAMILIES
from imageserver.engine.runner import pipeline_runner
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import on_white
from imageserver.generation import Control, Generation, Lora, Source
from imageserver.lora_folder import LoraFolder
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_loras import save_lora

SIDE = 64
STEPS = 3
# What a shared forward may change: its sums are rounded in another order.
TOLERANCE = 1e-5


def pixels(channels: int = 3, side: int = SIDE) -> bytes:
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8).tobytes()


def from_image(*, masked: bool = False) -> dict[str, Any]:
    return {"source": Source(strength=0.99, digest="x", masked=masked)}


def edited() -> dict[str, Any]:
    return {"source": Source(strength=1.0, digest="x"), "width": 128, "height": 128}


def tiny_klein_base() -> Any:
    return tiny_flux2_klein(distilled=False)


# The model, what the generation has beside its prompt, and its pixels.
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], bytes]] = {
    "qwen-image": (tiny_models.tiny_qwen_image, {}, b""),
    "qwen-image, long prompt": (tiny_models.tiny_qwen_image, {"prompt": "a red circle " * 9}, b""),
    "qwen-image, from an image": (tiny_models.tiny_qwen_image, from_image(), pixels()),
    "qwen-image, inside a mask": (tiny_models.tiny_qwen_image, from_image(masked=True), pixels(4)),
    "qwen-image, controlled": (tiny_models.tiny_qwen_image, {"controls": (Control(digest="x", scale=1.0),)}, pixels()),
    "qwen-image-edit": (tiny_models.tiny_qwen_image_edit, edited(), pixels(side=128)),
    "qwen-image-edit-plus": (lambda: tiny_models.tiny_qwen_image_edit(plus=True), edited(), pixels(side=128)),
    "cogview4": (tiny_models.tiny_cogview4, {}, b""),
    "flux.2-klein": (tiny_klein_base, {}, b""),
    "flux.2-klein, edit": (tiny_klein_base, edited(), pixels(side=128)),
    "flux.2-klein, inside a mask": (tiny_klein_base, from_image(masked=True), pixels(4)),
}  # fmt: skip


class FloatEngine(TinyEngine):
    """A tiny engine whose images can be had as floats."""

    def one(self, wanted: Generation, source: bytes = b"") -> torch.Tensor:
        """Generate one image and return it before it is rounded."""
        images: list[torch.Tensor] = []

        def kept(image: torch.Tensor) -> torch.Tensor:
            images.append(image)
            return on_white(image)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pipeline_runner, "on_white", kept)
            self.generate((wanted, source))
        return images[0]

    @property
    def score(self) -> tuple[int, int]:
        usage = self.scheduler.usage()
        return usage.lookahead_hits, usage.lookahead_misses


@pytest.fixture
def small_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read images at 256 x 256, where the pipelines read them at a megapixel: the stock VAE's convolutions are slow."""
    for pipeline in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        stock = pipeline.calculate_dimensions
        monkeypatch.setattr(pipeline, "calculate_dimensions", lambda area, ratio, stock=stock: stock(area // 16, ratio))


def test_every_family_that_tells_its_texts_is_tried_here() -> None:
    telling = {family.name for family in FAMILIES if family.text_arguments}
    assert telling == {name.partition(",")[0] for name in CASES}
    assert all(family.merger is not None for family in FAMILIES if family.text_arguments)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("fast_vae", "small_readings")
def test_every_step_is_one_forward_and_the_image_is_the_same(case: str) -> None:
    build, fields, source = CASES[case]
    pipeline = build()
    engine = FloatEngine(pipeline, control=tiny_control(pipeline) if "controls" in fields else None)
    alone = FloatEngine(pipeline, control=engine.control, cap=1)
    wanted = generation(**({"steps": STEPS} | fields))
    expected, image = alone.one(wanted, source), engine.one(wanted, source)
    assert (image - expected).abs().max() <= TOLERANCE
    assert engine.score == (wanted.generated_steps, 0)
    assert engine.batches == [2] * wanted.generated_steps
    assert (alone.score, alone.batches) == ((0, 0), [1] * 2 * wanted.generated_steps)


def test_with_a_lora_too(tmp_path: Path) -> None:
    pipeline = tiny_models.tiny_qwen_image()
    save_lora(tmp_path, "red", pipeline)
    loras = LoraFolder(tmp_path)
    adapters = LoraAdapters(pipeline, "transformer", loras)
    wanted = generation(steps=STEPS, loras=(Lora(name="red", digest=loras.find("red").digest),))
    engine, alone = FloatEngine(pipeline, adapters=adapters), FloatEngine(pipeline, adapters=adapters, cap=1)
    assert (engine.one(wanted) - alone.one(wanted)).abs().max() <= TOLERANCE
    assert engine.score == (STEPS, 0)
