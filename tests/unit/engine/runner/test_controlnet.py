"""A ControlNet guides what its model generates: alone to the bit as the stock pipelines do, merged nearly so."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.devices import devices
from imageserver.engine.devices.memory_needs import need_of
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.families.stable_diffusion import StableDiffusion
from imageserver.engine.models.model_choice import find
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.runner import controlnet
from imageserver.generation import Control, Generation, Source
from imageserver.protocol.messages import Preview, Progress
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.device_errors import DEVICE_LOST, OUT_OF_MEMORY
from tests.support.factories import generation
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_engine import TinyEngine, assert_a_lora_leaves_no_trace, assert_alike, difference
from tests.support.tiny_models import load, silent

# As in an engine.
pytestmark = pytest.mark.usefixtures("fast_vae")

MODELS: dict[str, Callable[[], Any]] = {
    "qwen-image": tiny_models.tiny_qwen_image,
    "stable diffusion": tiny_models.tiny_stable_diffusion,
    "stable diffusion xl": tiny_models.tiny_stable_diffusion_xl,
}
SIDE = 64


class GuidedEngine(TinyEngine):
    """A tiny model with a random ControlNet."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline, control=tiny_control(pipeline))

    def unlearned(self) -> TinyEngine:
        """Return the same model with a ControlNet that has not learned anything yet."""
        return TinyEngine(self.pipeline, control=tiny_control(self.pipeline, random=False))

    def plain(
        self, wanted: Generation, kind: str, *, guide: Image.Image, scheduler: Any = None, **images: Any
    ) -> np.ndarray:
        """Return what a plain call generates."""
        [control] = wanted.controls
        pipeline = getattr(diffusers, self.family.pipeline_classes[kind])  # type: ignore[index]
        name = "control_image" if "control_image" in inspect.signature(pipeline.__call__).parameters else "image"
        return super().plain(
            wanted, kind, scheduler=scheduler, **{name: guide}, **images,
            controlnet_conditioning_scale=control.scale, control_guidance_start=control.start,
            control_guidance_end=control.end,
        )  # fmt: skip


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def engine(request) -> GuidedEngine:
    return GuidedEngine(MODELS[request.param]())


unet_alone = pytest.mark.parametrize(
    "engine", ["stable diffusion", "stable diffusion xl"], indirect=True, scope="module"
)
qwen_alone = pytest.mark.parametrize("engine", ["qwen-image"], indirect=True, scope="module")


def guided(prompt: str = "a house", scale: float = 1.0, **fields: Any) -> Generation:
    """Return a generation with a guide."""
    span = {name: fields.pop(name) for name in ("start", "end") if name in fields}
    return generation(prompt, **({"controls": (Control(digest="x", scale=scale, **span),)} | fields))


def image(seed: int = 0, width: int = SIDE, height: int = SIDE) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, width * height * 3, np.uint8).tobytes()


def pil_image(data: bytes, width: int = SIDE) -> Image.Image:
    return Image.frombytes("RGB", (width, SIDE), data)


@pytest.mark.parametrize(
    "fields",
    [{}, {"true_cfg_scale": 3.0, "negative_prompt": "blurry", "width": 96}, {"scale": 0.5, "start": 0.25, "end": 0.75}],
)
def test_alone_it_is_bit_equal_to_the_stock_pipeline(engine, fields):
    wanted = guided(deterministic=True, **fields)
    guide = image(width=wanted.width)
    [generated] = engine.generate((wanted, guide))
    assert (generated == engine.plain(wanted, "control", guide=pil_image(guide, wanted.width))).all()


@unet_alone
@pytest.mark.parametrize("masked", [False, True])
def test_beside_an_image_to_start_from_too(engine, masked):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 255
    wanted = guided(steps=5, deterministic=True, source=Source(strength=0.6, digest="x", masked=masked))
    start, guide = image(1), image(2)
    [generated] = engine.generate((wanted, start + (mask.tobytes() if masked else b"") + guide))
    images = {"image": pil_image(start), "strength": 0.6} | ({"mask_image": Image.fromarray(mask)} if masked else {})
    expected = engine.plain(wanted, "control-inpaint" if masked else "control-image", guide=pil_image(guide), **images)
    kept = slice(0, SIDE // 2) if masked else slice(None)
    assert (generated[:, kept] == expected[:, kept]).all()
    assert len(engine.of(Progress)) == 3


@qwen_alone
def test_an_image_to_start_from_is_refused_by_name_where_there_is_no_pipeline_for_it(engine):
    [failure] = engine.generate((guided(source=Source(strength=0.6, digest="x")), image() * 2))
    assert (failure.code, failure.param) == ("invalid_parameter", "image")


def test_without_a_control_net_its_image_is_refused_by_name(engine):
    [failure] = TinyEngine(engine.pipeline).generate((guided(), image()))
    assert (failure.code, failure.param) == ("invalid_parameter", "control_image")


def test_one_that_has_learned_nothing_changes_nothing_and_another_does(engine):
    unlearned = engine.unlearned()
    [one], [other] = unlearned.generate((guided(), image(0))), unlearned.generate((guided(), image(1)))
    assert (one == other).all()
    # With a scale of zero, the other one does not either.
    assert (engine.generate((guided(scale=0.0), image()))[0] == one).all()
    [first], [second] = engine.generate((guided(), image(0))), engine.generate((guided(), image(1)))
    assert (first != one).any()
    assert (first != second).any()


@unet_alone
def test_one_that_has_learned_nothing_generates_what_is_generated_without(engine):
    [without] = engine.generate(generation("a house"))
    assert (engine.unlearned().generate((guided(), image()))[0] == without).all()


def test_the_demo_models_image_stays_as_it_is_beside_one_that_has_learned_nothing():
    engine = GuidedEngine(load(Settings(model="demo", _env_file=None)).pipeline)
    wanted = guided("a yellow star", width=128, height=128, steps=6, deterministic=True)
    guide = image(width=128, height=128)
    [generated] = engine.unlearned().generate((wanted, guide))
    generator = torch.Generator("cpu").manual_seed(wanted.seed)
    # The stock pipeline takes the first numbers of its generator to encode the guide.
    engine.pipeline.vae.encode(torch.zeros(1, 3, 1, 128, 128)).latent_dist.sample(generator)
    assert (generated == TinyEngine(engine.pipeline).plain(wanted, generator=generator)).all()
    assert np.abs(engine.generate((wanted, guide))[0] - generated).mean() > 1


def test_merged_images_are_those_generated_alone(engine):
    wanted = [
        (guided(), image(0)),
        (guided("a boat", seed=3, steps=6, scale=0.4), image(1)),
        (guided("no guidance", seed=5, true_cfg_scale=1.0, start=0.3), image(2)),
        (generation("not guided by an image", seed=7), b""),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) >= 3
    assert_alike(engine, wanted, together)


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(engine):
    [alone] = engine.generate((guided(previews=2), image(0)))
    assert (len(engine.of(Progress)), len(engine.of(Preview))) == (4, 2)
    stays, gone = engine.generate((guided(), image(0)), (guided(seed=9), image(1)), cancelled=1)
    assert gone.code == "cancelled"
    assert difference(stays, alone) <= 1


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(engine, tmp_path):
    assert_a_lora_leaves_no_trace(engine, tmp_path, guided, image())


@pytest.mark.parametrize("name", MODELS)
def test_it_is_loaded_beside_its_model(name, tmp_path):
    pipeline = MODELS[name]()
    pipeline.save_pretrained(tmp_path / "model")
    tiny_control(pipeline).save_pretrained(tmp_path / "control")
    without = load(Settings(model=str(tmp_path / "model"), _env_file=None))
    assert not without.controls
    assert "control" not in without.info.kinds
    settings = Settings(model=str(tmp_path / "model"), controlnet=str(tmp_path / "control"), _env_file=None)
    model = load(settings)
    assert [type(net).__name__ for net in model.controls] == [model.family.control_net]
    assert "control" in model.info.kinds
    # Answers that were kept from before are not given.
    assert model.info.revision != without.info.revision
    assert model.info.parameters > without.info.parameters


def test_what_does_not_fit_the_model_is_refused_in_one_sentence(tmp_path):
    built = {name: build() for name, build in MODELS.items()}
    built["stable diffusion"].save_pretrained(tmp_path / "model")
    for name in ("qwen-image", "stable diffusion xl"):
        tiny_control(built[name]).save_pretrained(tmp_path / name)
    (tmp_path / "empty").mkdir()
    tiny_models.tiny_cogview4().save_pretrained(tmp_path / "cogview4")
    for model, control, part in (
        ("model", "qwen-image", "is a QwenImageControlNetModel; stable-diffusion needs a ControlNetModel."),
        ("model", "stable diffusion xl", "made for another model: its cross_attention_dim is 64"),
        ("model", "empty", "has no readable config.json"),
        ("model", "nowhere", "is neither a folder nor an id"),
        ("cogview4", "qwen-image", "cogview4 is served without"),
    ):
        settings = Settings(model=str(tmp_path / model), controlnet=str(tmp_path / control), _env_file=None)
        with pytest.raises(ModelUnavailable, match=part):
            load(settings)


@pytest.mark.parametrize("name", MODELS)
def test_the_format_of_graphics_cards_serves_every_kind_too(name):
    engine = GuidedEngine(MODELS[name]().to(torch.bfloat16))
    engine.control.to(torch.bfloat16)
    for kind in (None, False, True):
        source = None if kind is None else Source(strength=0.6, digest="x", masked=kind)
        before = b"" if kind is None else image(1) + bytes(SIDE * SIDE * kind)
        if kind is None or name != "qwen-image":
            [generated] = engine.generate((guided(previews=1, source=source), before + image()))
            assert generated.shape == (SIDE, SIDE, 3)


def test_weights_that_are_not_there_are_told_without_a_path(tmp_path):
    pipeline = tiny_models.tiny_stable_diffusion()
    pipeline.save_pretrained(tmp_path / "model")
    tiny_control(pipeline).save_pretrained(tmp_path / "control")
    (tmp_path / "control" / "diffusion_pytorch_model.safetensors").unlink()
    settings = Settings(model=str(tmp_path / "model"), controlnet=str(tmp_path / "control"), _env_file=None)
    with pytest.raises(ModelUnavailable, match="CONTROLNET cannot be loaded") as refusal:
        load(settings)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    ("error", "raised"), [(OUT_OF_MEMORY[1], ModelUnavailable), (DEVICE_LOST[1], torch.AcceleratorError)]
)
def test_one_that_the_device_cannot_hold_is_refused_and_a_lost_device_is_no_fault_of_it(
    tmp_path, monkeypatch, error, raised
):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(diffusers.ControlNetModel, "from_pretrained", fail)
    for name in ("control", "model/unet"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(raised, match="CUDA error"):
        controlnet.load(tmp_path / "control", StableDiffusion(), tmp_path / "model", torch.float32, torch.device("cpu"))


def test_its_weights_count_before_they_are_loaded(tmp_path, monkeypatch):
    """A plan that only fits without them would end the load of every engine that was to keep it."""
    pipeline = tiny_models.tiny_stable_diffusion()
    pipeline.save_pretrained(tmp_path / "model")
    tiny_control(pipeline).save_pretrained(tmp_path / "control")
    settings = Settings(
        model=str(tmp_path / "model"), controlnet=str(tmp_path / "control"), memory="full", device="cpu",
        _env_file=None,
    )  # fmt: skip
    found = find(settings, silent)
    without = dataclasses.replace(found.weights, resident=0)
    whole = need_of(BY_NAME["full"], without, found.dtype, found.pixels, tiled=True).device
    whole += sum(parameter.numel() * found.dtype.itemsize for parameter in tiny_control(pipeline).parameters())
    monkeypatch.setattr(devices, "free_memory", lambda device: whole)
    assert found.plan()[0].name == "full"
    monkeypatch.setattr(devices, "free_memory", lambda device: whole - 1)
    with pytest.raises(ModelUnavailable, match="too little for MEMORY=full"):
        found.plan()


def test_its_weights_count_when_room_is_made_for_its_model(tmp_path, monkeypatch):
    pipeline = tiny_models.tiny_stable_diffusion()
    for name in ("model", "other"):
        pipeline.save_pretrained(tmp_path / name)
    tiny_control(pipeline).save_pretrained(tmp_path / "control")
    settings = Settings(
        model=str(tmp_path / "model"), controlnet=str(tmp_path / "control"), device="cpu", state_dir=tmp_path,
        max_pixels=64 * 64, _env_file=None,
    )  # fmt: skip
    pool = ModelPool(settings, lambda *frame: None, silent)
    pool.load(pool.find(str(tmp_path / "other"), silent), silent)
    found = pool.find(str(tmp_path / "model"), silent)
    without = dataclasses.replace(found, weights=dataclasses.replace(found.weights, resident=0))
    most = need_of(BY_NAME["full"], without.weights, found.dtype, found.pixels, tiled=True).device
    monkeypatch.setattr(devices, "free_memory", lambda device: most if pool.loaded else 2 * most)
    assert pool.make_room(without)
    assert len(pool.loaded) == 1, "it fits beside"
    assert pool.make_room(found)
    assert len(pool.loaded) == 0, "its ControlNet does not"


def test_it_belongs_to_the_model_that_is_loaded_first(tmp_path):
    first, other = tiny_models.tiny_stable_diffusion(), tiny_models.tiny_stable_diffusion_xl()
    first.save_pretrained(tmp_path / "first")
    other.save_pretrained(tmp_path / "other")
    tiny_control(first).save_pretrained(tmp_path / "control")
    settings = Settings(model=str(tmp_path / "first"), controlnet=str(tmp_path / "control"), _env_file=None)
    pool = ModelPool(settings, lambda *frame: None, silent)
    assert pool.find(str(tmp_path / "first"), silent).control_folders == (tmp_path / "control",)
    assert pool.find(str(tmp_path / "other"), silent).control_folders == ()
