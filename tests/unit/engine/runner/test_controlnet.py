"""A ControlNet guides what its model generates: alone to the bit as the stock pipelines do, merged nearly so."""

import copy
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.families import family_of
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.pipelines import single_frame_vae
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner, guide_of
from imageserver.generation import Control, Generation, Lora, Source
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, Message, Preview, Progress, Run
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import load, silent

MODELS: dict[str, Callable[[], Any]] = {
    "qwen-image": tiny_models.tiny_qwen_image,
    "stable diffusion": tiny_models.tiny_stable_diffusion,
    "stable diffusion xl": tiny_models.tiny_stable_diffusion_xl,
}
SIDE = 64


class Shop:
    """A tiny model with a ControlNet behind a gate, and the stock pipelines beside it."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self.stock: Any = build()
        torch.set_grad_enabled(False)
        found = family_of(type(self.stock).__name__)
        assert found is not None
        self.family = found
        self.family.customize(self.stock)
        self.nets = {random: tiny_control(self.stock, random=random) for random in (False, True)}
        self.batches: list[int] = []
        self.sent: list[tuple[Message, bytes]] = []

    def run(
        self, *wanted: tuple[Generation, bytes], random: bool | None = True, cancelled: int | None = None,
        adapters: LoraAdapters | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Generate together, cancel one after the second forward, and return the others in order.

        `random` says which ControlNet is loaded; None is none at all.
        """
        denoiser = getattr(self.stock, self.family.denoiser)
        gate = Gate(denoiser)
        self.sent.clear()
        self.batches.clear()

        def forward(**arguments: Any) -> Any:
            self.batches.append(self.family.merger.batch_size(arguments))  # type: ignore[union-attr]
            return gate.forward(**arguments)

        try:
            net = None if random is None else self.nets[random]
            model = ServedModel(
                PipelineRunner(copy.copy(self.stock), self.family, adapters=adapters, control=net), forward,
                merger=self.family.merger, cap_of=lambda pixels: 8, adapters=adapters,
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

    def plain(self, wanted: Generation, kind: str, guide: Image.Image, **images: Any) -> np.ndarray:
        """Return what a plain call generates."""
        stock = getattr(diffusers, self.family.pipeline_classes[kind])  # type: ignore[index]
        options = {"requires_safety_checker": False} if "safety_checker" in self.stock.components else {}
        pipeline = stock(**copy.copy(self.stock.components), controlnet=self.nets[True], **options)
        pipeline.scheduler = copy.deepcopy(self.stock.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        assert wanted.control is not None
        # Stable Diffusion's families take a blank for none.
        negative = wanted.negative_prompt.strip() or (" " if self.family.name == "qwen-image" else None)
        image = pipeline(
            prompt=wanted.prompt, negative_prompt=negative, num_inference_steps=wanted.steps,
            **{guide_of(pipeline): guide, self.family.guidance: wanted.true_cfg_scale}, **images,
            width=wanted.width, height=wanted.height, generator=torch.Generator("cpu").manual_seed(wanted.seed),
            controlnet_conditioning_scale=wanted.control.scale, control_guidance_start=wanted.control.start,
            control_guidance_end=wanted.control.end,
        ).images[0]  # fmt: skip
        return np.asarray(image).astype(int)

    def failure(self) -> Failed:
        """Return the one failure."""
        [failed] = [message for message, _ in self.sent if isinstance(message, Failed)]
        return failed


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def shop(request) -> Shop:
    return Shop(MODELS[request.param])


unet_alone = pytest.mark.parametrize("shop", ["stable diffusion", "stable diffusion xl"], indirect=True, scope="module")
qwen_alone = pytest.mark.parametrize("shop", ["qwen-image"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def _as_in_an_engine() -> None:
    torch.set_grad_enabled(False)
    single_frame_vae.install()


def guided(prompt: str = "a house", scale: float = 1.0, **fields: Any) -> Generation:
    """Return a generation with a guide."""
    span = {name: fields.pop(name) for name in ("start", "end") if name in fields}
    return generation(prompt, **({"control": Control(digest="x", scale=scale, **span)} | fields))


def image(seed: int = 0, width: int = SIDE, height: int = SIDE) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, width * height * 3, np.uint8).tobytes()


def pil_image(data: bytes, width: int = SIDE) -> Image.Image:
    return Image.frombytes("RGB", (width, SIDE), data)


@pytest.mark.parametrize(
    "fields",
    [{}, {"true_cfg_scale": 3.0, "negative_prompt": "blurry", "width": 96}, {"scale": 0.5, "start": 0.25, "end": 0.75}],
)
def test_alone_it_is_bit_equal_to_the_stock_pipeline(shop, fields):
    wanted = guided(deterministic=True, **fields)
    guide = image(width=wanted.width)
    [generated] = shop.run((wanted, guide))
    single_frame_vae.uninstall()
    assert (generated == shop.plain(wanted, "control", pil_image(guide, wanted.width))).all()
    single_frame_vae.install()


@unet_alone
@pytest.mark.parametrize("masked", [False, True])
def test_beside_a_image_to_start_from_too(shop, masked):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 255
    wanted = guided(steps=5, deterministic=True, source=Source(strength=0.6, digest="x", masked=masked))
    start, guide = image(1), image(2)
    [generated] = shop.run((wanted, start + (mask.tobytes() if masked else b"") + guide))
    images = {"image": pil_image(start), "strength": 0.6} | ({"mask_image": Image.fromarray(mask)} if masked else {})
    expected = shop.plain(wanted, "control-inpaint" if masked else "control-image", pil_image(guide), **images)
    kept = slice(0, SIDE // 2) if masked else slice(None)
    assert (generated[:, kept] == expected[:, kept]).all()
    assert sum(isinstance(message, Progress) for message, _ in shop.sent) == 3


@qwen_alone
def test_a_image_to_start_from_is_refused_by_name_where_there_is_no_pipeline_for_it(shop):
    shop.run((guided(source=Source(strength=0.6, digest="x")), image() * 2))
    assert (shop.failure().code, shop.failure().param) == ("invalid_parameter", "image")


def test_without_a_control_net_its_image_is_refused_by_name(shop):
    shop.run((guided(), image()), random=None)
    assert (shop.failure().code, shop.failure().param) == ("invalid_parameter", "control_image")


def test_one_that_has_learnt_nothing_changes_nothing_and_another_does(shop):
    [one], [other] = shop.run((guided(), image(0)), random=False), shop.run((guided(), image(1)), random=False)
    assert (one == other).all()
    # As strong as nothing, the other one does not either.
    assert (shop.run((guided(scale=0.0), image()))[0] == one).all()
    assert (shop.run((guided(), image()))[0] != one).any()
    assert (shop.run((guided(), image()))[0] != shop.run((guided(), image(1)))[0]).any()


@unet_alone
def test_one_that_has_learnt_nothing_generates_what_is_generated_without(shop):
    [without] = shop.run((generation("a house"), b""))
    assert (shop.run((guided(), image()), random=False)[0] == without).all()


def test_the_demo_models_image_stays_as_it_is_beside_one_that_has_learnt_nothing():
    shop = Shop(lambda: load(Settings(model="demo", _env_file=None)).pipeline)
    wanted = guided("a yellow star", width=128, height=128, steps=6, deterministic=True)
    guide = image(width=128, height=128)
    [generated] = shop.run((wanted, guide), random=False)
    single_frame_vae.uninstall()
    generator = torch.Generator("cpu").manual_seed(wanted.seed)
    # The stock pipeline generates the first numbers of its generator to encode the guide.
    shop.stock.vae.encode(torch.zeros(1, 3, 1, 128, 128)).latent_dist.sample(generator)
    unguided = shop.stock(
        prompt=wanted.prompt, negative_prompt=" ", true_cfg_scale=wanted.true_cfg_scale, width=128, height=128,
        num_inference_steps=wanted.steps, generator=generator,
    ).images[0]  # fmt: skip
    single_frame_vae.install()
    assert (generated == np.asarray(unguided)).all()
    assert np.abs(shop.run((wanted, guide))[0] - generated).mean() > 1


def test_merged_images_are_those_generated_alone(shop):
    wanted = [
        (guided(), image(0)),
        (guided("a boat", seed=3, steps=6, scale=0.4), image(1)),
        (guided("no guidance", seed=5, true_cfg_scale=1.0, start=0.3), image(2)),
        (generation("not guided by an image", seed=7), b""),
    ]
    together = shop.run(*wanted)
    assert max(shop.batches) >= 3
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - shop.run(one)[0]).max() <= 1


def test_a_cancelled_neighbour_changes_nothing_and_every_step_is_told(shop):
    [alone] = shop.run((guided(previews=2), image(0)))
    assert sum(isinstance(message, Progress) for message, _ in shop.sent) == 4
    assert sum(isinstance(message, Preview) for message, _ in shop.sent) == 2
    [stays] = shop.run((guided(), image(0)), (guided(seed=9), image(1)), cancelled=1)
    assert shop.failure().code == "cancelled"
    assert np.abs(stays - alone).max() <= 1


def test_a_lora_changes_what_is_generated_and_unloading_it_restores_the_base(shop, tmp_path):
    path = save_lora(tmp_path, "red", shop.stock)
    folder = LoraFolder(tmp_path)
    adapters = LoraAdapters(shop.stock, shop.family.denoiser, folder)
    lora = Lora(name="red", digest=folder.find(path.stem).digest)
    [before] = shop.run((guided(), image()))
    [changed] = shop.run((guided(loras=(lora,)), image()), adapters=adapters)
    assert (changed != before).any()
    adapters.unload("red")
    assert (shop.run((guided(), image()))[0] == before).all()


@pytest.mark.parametrize("name", MODELS)
def test_it_is_loaded_beside_its_model(name, tmp_path):
    pipeline = MODELS[name]()
    pipeline.save_pretrained(tmp_path / "model")
    tiny_control(pipeline).save_pretrained(tmp_path / "control")
    without = load(Settings(model=str(tmp_path / "model"), _env_file=None))
    assert without.control is None
    assert "control" not in without.info.kinds
    settings = Settings(model=str(tmp_path / "model"), controlnet=str(tmp_path / "control"), _env_file=None)
    model = load(settings)
    assert type(model.control).__name__ == model.family.control_net
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
    shop = Shop(lambda: MODELS[name]().to(torch.bfloat16))
    shop.nets[True].to(torch.bfloat16)
    for kind in (None, False, True):
        source = None if kind is None else Source(strength=0.6, digest="x", masked=kind)
        before = b"" if kind is None else image(1) + bytes(SIDE * SIDE * kind)
        if kind is None or name != "qwen-image":
            [generated] = shop.run((guided(previews=1, source=source), before + image()))
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


def test_it_belongs_to_the_model_that_is_loaded_first(tmp_path):
    first, other = tiny_models.tiny_stable_diffusion(), tiny_models.tiny_stable_diffusion_xl()
    first.save_pretrained(tmp_path / "first")
    other.save_pretrained(tmp_path / "other")
    tiny_control(first).save_pretrained(tmp_path / "control")
    settings = Settings(model=str(tmp_path / "first"), controlnet=str(tmp_path / "control"), _env_file=None)
    pool = ModelPool(settings, lambda *frame: None, silent)
    assert pool.find(str(tmp_path / "first"), silent).control_folder == tmp_path / "control"
    assert pool.find(str(tmp_path / "other"), silent).control_folder is None
