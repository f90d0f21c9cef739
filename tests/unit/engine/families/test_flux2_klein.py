"""FLUX.2-klein generates, edits and inpaints with one set of parts: to the bit what the stock pipelines do."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinInpaintPipeline
from PIL import Image

from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.images import noise
from tests.support.tiny_engine import TinyEngine, assert_a_lora_leaves_no_trace, assert_alike, difference
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_models import load

SIDE = 64
WIDE = (96, SIDE)
# More than a megapixel, and what the pipeline makes of it.
LARGE, SMALLER = (1088, 1024), (1040, 992)


@pytest.fixture(scope="module")
def engine() -> TinyEngine:
    return TinyEngine(tiny_flux2_klein())


@pytest.fixture(scope="module")
def base() -> TinyEngine:
    return TinyEngine(tiny_flux2_klein(distilled=False))


def edit(prompt: str = "make it blue", *, further: tuple[tuple[int, int], ...] = (), **fields: Any) -> Generation:
    """Return an instruction for one image and `further` ones of these sizes."""
    source = Source(strength=1.0, digest="x", further=further)
    return generation(prompt, **({"source": source, "true_cfg_scale": 1.0} | fields))


def large() -> Generation:
    source = Source(strength=1.0, digest="x", masked=True)
    return generation(width=LARGE[0], height=LARGE[1], steps=1, true_cfg_scale=1.0, source=source)


def mask() -> Image.Image:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[:, : SIDE // 2] = 255
    return Image.fromarray(pixels)


def sent(*images: Image.Image) -> bytes:
    return b"".join(image.tobytes() for image in images)


def test_an_edit_is_bit_equal_to_the_stock_pipelines(engine):
    for fields in ({}, {"width": WIDE[0], "seed": 4}):
        one = edit(**fields)
        image = noise(0, one.width)
        [generated] = engine.generate((one, sent(image)))
        assert (generated == engine.plain(one, image=image)).all()


def test_guidance_of_a_base_model_and_its_negative_prompt_are_those_of_the_stock_pipeline(base):
    one = edit(true_cfg_scale=4.0, negative_prompt="blurry", deterministic=True)
    [generated] = base.generate((one, sent(noise())))
    assert (generated == base.plain(one, image=noise())).all()
    [other] = base.generate((edit(true_cfg_scale=4.0, deterministic=True), sent(noise())))
    assert (other != generated).any()


def test_up_to_four_images_are_seen_each_by_itself(engine):
    images = [noise(0), noise(1, WIDE[0]), noise(2), noise(3)]
    one = edit("put them together", further=(WIDE, (SIDE, SIDE), (SIDE, SIDE)), steps=2)
    [generated] = engine.generate((one, sent(*images)))
    assert (generated == engine.plain(one, image=images)).all()
    [failed] = engine.generate((edit(further=((SIDE, SIDE),) * 4), sent(*[noise()] * 5)))
    assert (failed.code, failed.param) == ("invalid_parameter", "image")


def test_edits_of_images_of_the_same_shapes_share_forwards_and_of_others_do_not(engine):
    alike = [(edit(seed=seed, further=(WIDE,)), sent(noise(seed), noise(9, WIDE[0]))) for seed in (1, 2)]
    # As many tokens as those, in another shape.
    other = (edit(seed=3, further=(WIDE[::-1],)), sent(noise(3), noise(9, *WIDE[::-1])))
    assert_alike(engine, [*alike, other], engine.generate(*alike, other))
    engine.generate(*alike)
    assert engine.batches == [2] * 4
    engine.generate(alike[0], other)
    assert engine.batches == [1] * 8


def test_beside_a_mask_one_further_image_is_the_reference(engine):
    source = Source(strength=0.6, digest="x", masked=True, further=(WIDE,))
    one = generation(source=source, steps=5, true_cfg_scale=1.0)
    [generated] = engine.generate((one, sent(noise(), mask(), noise(1, WIDE[0]))))
    images = {"image": noise(), "mask_image": mask(), "image_reference": noise(1, WIDE[0])}
    expected = engine.plain(one, "inpaint", **images, strength=0.6)
    half = SIDE // 2
    assert (generated[:, :half] == expected[:, :half]).all()
    assert (generated[:, half:] == np.asarray(noise())[:, half:]).all()
    assert len(engine.of(Progress)) == 3
    several = generation(source=Source(strength=1.0, digest="x", masked=True, further=(WIDE, WIDE)))
    [failed] = engine.generate((several, sent(noise(), mask(), noise(1, WIDE[0]), noise(2, WIDE[0]))))
    assert (failed.code, failed.param) == ("invalid_parameter", "image")
    assert "one further image" in failed.sentence


def test_a_distilled_model_inpaints_without_guidance(engine):
    source = Source(strength=1.0, digest="x", masked=True)
    guided, plain = (
        engine.generate((generation(source=source, true_cfg_scale=scale), sent(noise(), mask())))[0]
        for scale in (4.0, 1.0)
    )
    assert (guided == plain).all()
    assert len(engine.batches) == 4


def test_what_is_inpainted_beyond_a_megapixel_is_enlarged_in_its_place_with_a_warning(engine, monkeypatch):
    width, height = SMALLER

    def inpaint(self: Any, image: Any, mask_image: Any, strength: float, width: int, height: int, **_: Any) -> Any:
        ramp = torch.linspace(0, 1, SMALLER[1])[:, None].expand(3, -1, SMALLER[0])
        return SimpleNamespace(images=ramp[None])

    monkeypatch.setattr(Flux2KleinInpaintPipeline, "__call__", inpaint)
    [generated] = engine.generate((large(), bytes(3 * LARGE[0] * LARGE[1]) + b"\xff" * LARGE[0] * LARGE[1]))
    assert generated.shape == (LARGE[1], LARGE[0], 3)
    assert (generated[0].max(), generated[-1].min()) == (0, 255)
    usage = engine.runner.token_usage(large())
    assert usage.image_tokens == (width // 16) * (height // 16)
    assert f"at most a megapixel: {width}x{height} was generated and enlarged" in usage.warnings[-1]


@pytest.mark.slow
def test_the_stock_pipeline_inpaints_a_larger_image_at_the_size_that_the_warning_names(engine):
    images = {"image": Image.new("RGB", LARGE), "mask_image": Image.new("L", LARGE, 255)}
    assert engine.plain(large(), "inpaint", **images, strength=1.0).shape == (SMALLER[1], SMALLER[0], 3)


def test_images_that_the_pipeline_would_not_take_are_refused_by_name(engine):
    narrow = edit(width=8 * SIDE + 1, height=SIDE)
    [failed] = engine.generate((narrow, bytes(3 * narrow.width * narrow.height)))
    assert (failed.code, failed.param) == ("invalid_parameter", "image")
    assert "528x64 is too long and narrow" in failed.sentence
    [failed] = engine.generate((edit(further=((SIDE, 9 * SIDE),)), bytes(3 * 10 * SIDE * SIDE)))
    assert (failed.code, failed.param) == ("invalid_parameter", "image")


def test_a_cancelled_neighbour_changes_nothing_and_previews_have_the_images_shape(engine):
    one, image = edit(previews=2, width=WIDE[0]), noise(0, WIDE[0])
    [alone] = engine.generate((one, sent(image)))
    assert [(seen.width, seen.height) for seen, _ in engine.of(Preview)] == [(12, 8)] * 2
    stays, gone = engine.generate((one, sent(image)), (edit(seed=9, width=WIDE[0]), sent(image)), cancelled=1)
    assert gone.code == "cancelled"
    assert difference(stays, alone) <= 1


def test_a_lora_changes_what_is_edited_and_unloading_it_restores_the_base(engine, tmp_path):
    assert_a_lora_leaves_no_trace(engine, tmp_path, edit, sent(noise()))


@pytest.mark.parametrize("distilled", [True, False])
def test_it_is_loaded_from_its_published_layout(distilled, engine, base, tmp_path):
    (engine if distilled else base).pipeline.save_pretrained(tmp_path)
    model = load(Settings(model=str(tmp_path), _env_file=None))
    assert (model.info.family, model.info.kinds, model.info.max_images) == (
        "flux.2-klein", ("text", "edit", "inpaint"), 4,
    )  # fmt: skip
    expected = (4, 1.0) if distilled else (50, 4.0)
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == expected
    one = generation(deterministic=True)
    loaded, saved = TinyEngine(model.pipeline), engine if distilled else base
    [image] = loaded.generate(one)
    assert (image == loaded.plain(one)).all()
    # Weights in a file are aligned otherwise, which may change the last bits of a sum.
    assert difference(image, saved.generate(one)[0]) <= 1
