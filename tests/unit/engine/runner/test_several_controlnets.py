"""Several control images guide one generation: alone to the bit as the stock pipelines do, merged nearly so."""

import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
from PIL import Image

from imageserver.engine.downloads import ModelUnavailable
from imageserver.generation import Control, Generation, Source
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_engine import TinyEngine, assert_alike
from tests.support.tiny_models import load

# As in an engine.
pytestmark = pytest.mark.usefixtures("fast_vae")

SIDE = 64
# The models, and how many ControlNets are loaded with each.
MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "qwen-image": (tiny_models.tiny_qwen_image, 1),
    "stable diffusion": (tiny_models.tiny_stable_diffusion, 2),
    "stable diffusion xl": (tiny_models.tiny_stable_diffusion_xl, 2),
}


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def engine(request) -> TinyEngine:
    build, count = MODELS[request.param]
    pipeline = build()
    return TinyEngine(pipeline, control=[tiny_control(pipeline, seed=seed) for seed in range(count)])


def controls(engine: TinyEngine, scales: tuple[float, ...] = (1.0, 0.5)) -> tuple[Control, ...]:
    """Return one control for each scale; the last of the model's ControlNets comes first."""
    nets = len(engine.control)
    spans = ((0.0, 1.0), (0.25, 0.75), (0.0, 0.5))
    return tuple(
        Control(digest="x", scale=scale, start=start, end=end, net=(nets - 1 + index) % nets)
        for index, (scale, (start, end)) in enumerate(zip(scales, spans, strict=False))
    )


def images(*seeds: int) -> bytes:
    return b"".join(np.random.default_rng(seed).integers(0, 256, SIDE * SIDE * 3, np.uint8).tobytes() for seed in seeds)


def pil_images(data: bytes) -> list[Image.Image]:
    size = SIDE * SIDE * 3
    return [Image.frombytes("RGB", (SIDE, SIDE), data[at : at + size]) for at in range(0, len(data), size)]


def plain(engine: TinyEngine, wanted: Generation, kind: str, guides: bytes, **arguments: Any) -> np.ndarray:
    """Return what a plain call of the stock pipeline generates, whose ControlNets are in the order of the images."""
    stock = getattr(diffusers, engine.family.pipeline_classes[kind])  # type: ignore[index]
    name = "control_image" if "control_image" in inspect.signature(stock.__call__).parameters else "image"
    chosen = [engine.control[control.net] for control in wanted.controls]
    if len(engine.control) == 1:
        # One that reads several kinds of images.
        chosen = diffusers.QwenImageMultiControlNetModel(engine.control)
    return TinyEngine(engine.pipeline, control=chosen).plain(
        wanted,
        kind,
        **{name: pil_images(guides)},
        controlnet_conditioning_scale=[control.scale for control in wanted.controls],
        control_guidance_start=[control.start for control in wanted.controls],
        control_guidance_end=[control.end for control in wanted.controls],
        **arguments,
    )


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.4, 1.0, 2.0)])
def test_alone_it_is_bit_equal_to_the_stock_pipeline(engine, scales):
    wanted = generation("a house", deterministic=True, controls=controls(engine, scales))
    guides = images(*range(len(scales)))
    [generated] = engine.generate((wanted, guides))
    assert (generated == plain(engine, wanted, "control", guides)).all()


@pytest.mark.parametrize("engine", ["stable diffusion", "stable diffusion xl"], indirect=True, scope="module")
def test_beside_an_image_to_start_from_too(engine):
    source = Source(strength=0.6, digest="x")
    wanted = generation("a house", steps=5, deterministic=True, controls=controls(engine), source=source)
    start, guides = images(9), images(0, 1)
    [generated] = engine.generate((wanted, start + guides))
    [image] = pil_images(start)
    assert (generated == plain(engine, wanted, "control-image", guides, image=image, strength=0.6)).all()


def test_merged_images_are_those_generated_alone(engine):
    both, one = controls(engine), controls(engine, (0.8,))
    wanted = [
        (generation("a house", controls=both), images(0, 1)),
        (generation("a boat", seed=3, steps=6, controls=both[::-1]), images(2, 3)),
        (generation("a tree", seed=5, controls=one), images(4)),
        (generation("not guided by an image", seed=7), b""),
    ]
    together = engine.generate(*wanted)
    assert max(engine.batches) >= 3
    assert_alike(engine, wanted, together)


def test_every_image_of_a_request_guides(engine):
    wanted = generation("a house", controls=controls(engine, (1.0, 1.0)))
    [first], [second], [third] = (engine.generate((wanted, images(*seeds))) for seeds in ((0, 1), (0, 2), (3, 1)))
    assert (first != second).any()
    assert (first != third).any()


def test_a_control_net_that_is_not_there_is_refused_by_name(engine):
    wanted = generation("a house", controls=(Control(digest="x", net=len(engine.control)),))
    [failure] = engine.generate((wanted, images(0)))
    assert (failure.code, failure.param) == ("invalid_parameter", "controls")


def test_several_are_loaded_in_the_order_of_the_setting(tmp_path):
    pipeline = tiny_models.tiny_stable_diffusion()
    pipeline.save_pretrained(tmp_path / "model")
    nets = {name: tiny_control(pipeline, seed=seed) for seed, name in enumerate(("edges", "depth"))}
    for name, net in nets.items():
        net.save_pretrained(tmp_path / name)
    both = f"{tmp_path / 'depth'}, {tmp_path / 'edges'}"
    model = load(Settings(model=str(tmp_path / "model"), controlnet=both, _env_file=None))
    for loaded, name in zip(model.controls, ("depth", "edges"), strict=True):
        weights = nets[name].controlnet_mid_block.weight
        assert (loaded.get_parameter("controlnet_mid_block.weight") == weights).all()
    turned = f"{tmp_path / 'edges'},{tmp_path / 'depth'}"
    other = load(Settings(model=str(tmp_path / "model"), controlnet=turned, _env_file=None))
    assert other.info.revision != model.info.revision, "answers that were kept from before are not given"


def test_a_family_that_takes_one_control_net_names_the_limit(tmp_path):
    tiny_models.tiny_qwen_image().save_pretrained(tmp_path / "model")
    settings = Settings(model=str(tmp_path / "model"), controlnet="a/b,c/d", _env_file=None)
    with pytest.raises(ModelUnavailable, match="names 2 ControlNets; qwen-image is served with at most 1"):
        load(settings)
