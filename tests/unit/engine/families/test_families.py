"""Every family generates what its stock pipelines do: alone to the bit, merged nearly so, from text and from images."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.caching import open_tiers
from imageserver.engine.families import FAMILIES, family_of
from imageserver.engine.models.probe_calls import suspended_call
from imageserver.engine.pipelines.suspension import Gate
from imageserver.generation import Generation, Source
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.paths import ROOT
from tests.support.tiny_engine import TinyEngine, Wanted, assert_alike, difference
from tests.support.tiny_ernie_image import tiny_ernie_image
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_qwen_image_21 import tiny_qwen_image_21


@dataclass(frozen=True)
class Model:
    """A tiny model, the tokens that it reads of a prompt, and whether guidance is a second row of a forward.

    `card` is what its model card tells a plain call beside, `guidance` a scale that it generates with unwarned,
    `unguided` what a plain call is told where there is none, if that is not the scale itself.
    """

    build: Callable[[], Any]
    most_tokens: int
    doubled: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)
    guidance: float = 3.0
    unguided: float | None = None


MODELS = {
    "stable diffusion 1.5": Model(tiny_models.tiny_stable_diffusion, 77, doubled=True),
    "stable diffusion 2.1": Model(
        lambda: tiny_models.tiny_stable_diffusion(width=64, prediction="v_prediction"), 77, doubled=True
    ),
    "stable diffusion xl": Model(tiny_models.tiny_stable_diffusion_xl, 77, doubled=True),
    "cogview4": Model(tiny_models.tiny_cogview4, 1024, doubled=True),
    "hidream-i1": Model(tiny_models.tiny_hidream, 128, doubled=True),
    "flux dev": Model(tiny_models.tiny_flux, 512),
    "flux schnell": Model(
        lambda: tiny_models.tiny_flux(distilled=True), 256, card={"max_sequence_length": 256}, guidance=0.0
    ),
    # Of the 512 tokens that it reads, the template's first are six in this tokenizer.
    "z-image": Model(tiny_models.tiny_z_image, 506, doubled=True, unguided=0.0),
    "flux.2 klein": Model(tiny_flux2_klein, 506, guidance=1.0),
    "flux.2 klein base": Model(lambda: tiny_flux2_klein(distilled=False), 506, doubled=True),
    "ernie-image": Model(tiny_ernie_image, 512, doubled=True),
}
# One of each family.
BUILD = [
    tiny_models.tiny_qwen_image, tiny_models.tiny_qwen_image_edit, tiny_models.tiny_stable_diffusion,
    tiny_models.tiny_stable_diffusion_xl, tiny_models.tiny_cogview4, tiny_models.tiny_hidream, tiny_models.tiny_flux,
    tiny_models.tiny_z_image, tiny_qwen_image_21, tiny_flux2_klein, tiny_ernie_image,
]  # fmt: skip
# By the pipelines that diffusers has.
FROM_TEXT_ALONE = ["cogview4", "hidream-i1", "ernie-image"]
EDITING = ["flux.2 klein", "flux.2 klein base"]
FROM_IMAGES = [name for name in MODELS if name not in (*FROM_TEXT_ALONE, *EDITING)]
STRENGTH = 0.6


class FamilyEngine(TinyEngine):
    """An engine with a model of some family."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.build())
        self.case = model

    def plain(self, wanted: Generation, kind: str = "text", **images: Any) -> np.ndarray:
        """Return what a plain call of the stock pipeline generates, told what its model card tells it."""
        unguided = wanted.true_cfg_scale <= 1 and self.case.unguided is not None
        guidance = {"guidance_scale": self.case.unguided} if unguided else {}
        return super().plain(wanted, kind, **guidance, **self.case.card, **images)

    def rows(self, wanted: Wanted) -> int:
        """Return the rows of an image in a forward."""
        one = wanted[0] if isinstance(wanted, tuple) else wanted
        return 2 if self.case.doubled and one.true_cfg_scale > 1 else 1


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def engine(request) -> FamilyEngine:
    return FamilyEngine(MODELS[request.param])


def only(names: list[str]) -> pytest.MarkDecorator:
    """Run a test with these models alone."""
    return pytest.mark.parametrize("engine", names, indirect=True, scope="module")


def gradient() -> np.ndarray:
    rows, columns = np.mgrid[0:64, 0:64]
    return np.stack([rows * 4, columns * 4, np.full_like(rows, 90)], 2).astype(np.uint8)


def half() -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    return mask


@pytest.mark.parametrize(
    "fields", [{}, {"true_cfg_scale": 1.0}, {"negative_prompt": "blurry"}, {"seed": 9, "steps": 7}]
)
def test_alone_it_is_bit_equal_to_the_stock_pipeline(engine, fields):
    # Two calls of a step that share a forward are rounded differently.
    wanted = generation(**fields, deterministic=bool(engine.family.text_arguments))
    assert (engine.generate(wanted)[0] == engine.plain(wanted)).all()


@only(FROM_IMAGES)
def test_from_an_image_too(engine):
    wanted = generation(steps=5, source=Source(strength=STRENGTH, digest="x"))
    generated = engine.generate((wanted, gradient().tobytes()))[0]
    assert (generated == engine.plain(wanted, "image", image=Image.fromarray(gradient()), strength=STRENGTH)).all()
    assert len(engine.of(Progress)) == wanted.generated_steps == 3


@only([*FROM_IMAGES, *EDITING])
def test_inside_a_mask_too_and_outside_it_is_the_source(engine):
    source = Source(strength=STRENGTH, digest="x", masked=True)
    wanted = generation(steps=5, source=source, deterministic=bool(engine.family.text_arguments))
    generated = engine.generate((wanted, gradient().tobytes() + half().tobytes()))[0]
    images = {"image": Image.fromarray(gradient()), "mask_image": Image.fromarray(half())}
    expected = engine.plain(wanted, "inpaint", **images, strength=STRENGTH)
    assert (generated[:, :32] == expected[:, :32]).all()
    assert (generated[:, 32:] == gradient()[:, 32:]).all()


def test_merged_images_are_those_generated_alone(engine):
    wanted: list[Wanted] = [
        generation(steps=4), generation("a blue square", steps=6, seed=3, true_cfg_scale=7.5),
        generation("no guidance", steps=3, seed=4, true_cfg_scale=0.0),
    ]  # fmt: skip
    if "image" in engine.family.pipeline_classes:
        start = Source(strength=STRENGTH, digest="x")
        wanted.append((generation("an image", steps=5, seed=5, source=start), gradient().tobytes()))
    together = engine.generate(*wanted)
    assert max(engine.batches) == sum(engine.rows(one) for one in wanted)
    assert_alike(engine, wanted, together)


@only([name for name, model in MODELS.items() if model.doubled])
def test_the_rows_of_a_guided_call_may_be_computed_apart(engine):
    with suspended_call(engine.runner, 64) as call:
        whole, rows = engine.gate.forward(**call)[0], engine.family.merger.rows(call)
        apart = [engine.gate.forward(**row)[0][0] for row in rows]
    assert len(apart) == engine.family.merger.batch_size(call)
    assert max(float((one - other).abs().max()) for one, other in zip(whole, apart, strict=True)) <= 1e-5


def test_texts_of_different_lengths_and_images_of_different_shapes_do_not_harm_each_other(engine):
    wanted = [
        generation("a cat"), generation("a very long story about a dog " * 3, seed=2),
        generation("wide", seed=3, width=128), generation("high", seed=4, height=128),
    ]  # fmt: skip
    assert_alike(engine, wanted, engine.generate(*wanted))


@only(["z-image", "ernie-image"])
def test_texts_of_different_lengths_share_forwards_where_padding_costs_little(engine):
    wanted = [
        generation("a cat", width=256, height=256, steps=2),
        generation("a story about a dog and a cat", seed=2, width=256, height=256, steps=2),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) == 4
    assert_alike(engine, wanted, together)


@only(FROM_TEXT_ALONE)
def test_a_model_of_text_alone_refuses_an_image(engine):
    for masked in (False, True):
        source = Source(strength=STRENGTH, digest="x", masked=masked)
        [failure] = engine.generate((generation(source=source), bytes(64 * 64 * 4)))
        assert (failure.code, failure.param) == ("invalid_parameter", "image")


def test_a_cancelled_neighbour_changes_nothing(engine):
    stays, gone = engine.generate(generation(), generation(seed=5), cancelled=1)
    assert gone.code == "cancelled"
    assert difference(stays, engine.generate(generation())[0]) <= 1


def test_previews_come_closer_to_the_image(engine):
    [image] = engine.generate(generation(steps=10, previews=8))
    frames = [
        np.frombuffer(raw, np.uint8).reshape(message.height, message.width, 3).astype(int)
        for message, raw in engine.of(Preview)
    ]  # fmt: skip
    assert len(frames) == 8
    assert frames[0].shape == (8, 8, 3)
    last = frames[-1]
    assert np.abs(frames[-2] - last).mean() <= np.abs(frames[0] - last).mean() + 1
    assert image.shape == (64, 64, 3)


def test_long_prompts_are_cut_with_a_warning_and_tokens_are_counted(engine):
    long, most = generation("circle " * 150), engine.case.most_tokens
    reading = engine.runner.token_usage(long)
    assert reading.prompt_tokens == most
    assert f"the model read the first {most}" in reading.warnings[0]
    engine.generate(long)
    short = generation("ab", true_cfg_scale=engine.case.guidance)
    assert engine.runner.token_usage(short).warnings == ()


@pytest.mark.parametrize("name", MODELS)
def test_the_format_of_graphics_cards_serves_every_kind_too(name):
    model = MODELS[name]
    engine = FamilyEngine(replace(model, build=lambda: model.build().to(torch.bfloat16)))
    for masked in (None,) if name in FROM_TEXT_ALONE else (None, False, True):
        source = None if masked is None else Source(strength=STRENGTH, digest="x", masked=masked)
        [generated] = engine.generate((generation(previews=1, source=source), gradient().tobytes() + half().tobytes()))
        assert generated.shape == (64, 64, 3)


@only(["flux dev", "flux schnell", "flux.2 klein"])
def test_what_a_distilled_model_does_not_read_is_told(engine):
    reading = engine.runner.token_usage(generation(negative_prompt="blurry", true_cfg_scale=2.0))
    told = {warning.split()[0] for warning in reading.warnings}
    assert told == ({"negative_prompt"} if engine.case.guidance > 1 else {"negative_prompt", "guidance_scale"})


def documented() -> dict[str, list[str]]:
    """Return the cells of each family's row in the documentation's table."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    return {
        cells[0].split("`")[1]: cells
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 10
    }


def test_the_table_of_the_documentation_tells_of_every_family():
    rows = documented()
    assert set(rows) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        _, classes, text, image, inpaint, edit, control, _, guidance, _ = rows[family.name]
        assert re.findall(r"`(\w+)`", classes) == list(dict.fromkeys(family.pipeline_classes.values()))
        told = {"text": text, "image": image, "inpaint": inpaint, "edit": edit}
        assert told == {kind: "yes" if kind in family.pipeline_classes else "no" for kind in told}
        kinds = {"text": "control", "image": "control-image", "mask": "control-inpaint"}
        guided = [name for name, kind in kinds.items() if kind in family.pipeline_classes]
        assert control == (", ".join(guided) or "no")
        assert bool(family.control_net) == bool(guided)
        assert guidance == f"`{family.guidance}`"


@pytest.mark.parametrize("build", BUILD, ids=[build.__name__ for build in BUILD])
def test_the_table_of_the_documentation_tells_who_has_quality_tiers(build):
    pipeline = build()
    family = family_of(type(pipeline).__name__)
    denoiser = getattr(pipeline, family.denoiser)
    gate = Gate(denoiser)
    tiers = open_tiers(Settings(_env_file=None), denoiser, gate.set_context, gate.forward, lambda set_context: None)
    assert documented()[family.name][7] == ("no" if tiers is None else "yes")
