"""LoRAs change images as diffusers' own do, keep to the images that asked for them, and leave no trace."""

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.devices.placement import move_to_device
from imageserver.engine.runner.lora_adapters import LoraAdapters, open_adapters
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import LoraRequest
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_alike
from tests.support.tiny_ernie_image import tiny_ernie_image
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_loras import save_lora

BUILD = {
    "qwen-image": tiny_models.tiny_qwen_image,
    "stable-diffusion": tiny_models.tiny_stable_diffusion,
    "stable-diffusion-xl": tiny_models.tiny_stable_diffusion_xl,
    "cogview4": tiny_models.tiny_cogview4,
    "hidream-i1": tiny_models.tiny_hidream,
    "flux": tiny_models.tiny_flux,
    "z-image": tiny_models.tiny_z_image,
    "flux.2-klein": tiny_flux2_klein,
    "ernie-image": tiny_ernie_image,
}
WAITING_IN_RAM = [
    *itertools.product(["qwen-image", "stable-diffusion"], ["encoder-offload", "model-offload", "group-offload"]),
    # Their pipelines read the VAE's norm outside of its forward.
    ("flux.2-klein", "group-offload"),
    ("ernie-image", "group-offload"),
]
LIGHTNING = {"_class_name": "FlowMatchEulerDiscreteScheduler", "base_shift": math.log(3), "max_shift": math.log(3)}


def checksum(pipeline: Any) -> str:
    """Return the name of all weights and of the modules that hold them."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, torch.nn.Module):
            digest.update("".join(f"{name}.{key}:{type(module)}" for key, module in part.named_modules()).encode())
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(key.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


class LoraEngine(TinyEngine):
    """An engine and LoRAs for it: `red` and `blue`, `text` for the text encoder too, `quick` with a profile."""

    def __init__(self, name: str, path: Path) -> None:
        self.build, self.path = BUILD[name], path
        pipeline = self.build()
        for seed, lora in enumerate(("red", "blue")):
            save_lora(path, lora, pipeline, seed=seed)
        if name.startswith("stable"):
            save_lora(path, "text", pipeline, seed=2, text=True)
        save_lora(path, "quick", pipeline, seed=3, scheduler=LIGHTNING)
        self.folder = LoraFolder(path)
        denoiser = "unet" if hasattr(pipeline, "unet") else "transformer"
        self.loras = LoraAdapters(pipeline, denoiser, self.folder)
        super().__init__(pipeline, adapters=self.loras)

    def lora(self, name: str, scale: float = 1.0) -> Lora:
        return Lora(name=name, digest=self.folder.find(name).digest, scale=scale)

    def with_diffusers(self, wanted: Generation, *, scheduler: Any = None) -> np.ndarray:
        """Return what diffusers alone generates with the same LoRAs."""
        fresh = TinyEngine(self.build())
        for lora in wanted.loras:
            path = self.folder.find(lora.name).path
            fresh.pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=lora.name)
        if wanted.loras:
            fresh.pipeline.set_adapters([each.name for each in wanted.loras], [each.scale for each in wanted.loras])
        return fresh.plain(wanted, scheduler=scheduler)


@pytest.fixture(scope="module", params=BUILD)
def engine(request, tmp_path_factory) -> LoraEngine:
    return LoraEngine(request.param, tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def flow(tmp_path_factory) -> LoraEngine:
    return LoraEngine("qwen-image", tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory) -> LoraEngine:
    return LoraEngine("stable-diffusion", tmp_path_factory.mktemp("loras"))


@pytest.fixture(autouse=True)
def _nothing_is_loaded(request) -> None:
    """Take off what the tests before have loaded: they come in any order."""
    for name in {"engine", "flow", "diffusion"} & set(request.fixturenames):
        adapters = request.getfixturevalue(name).loras
        for lora in set(adapters.names):
            adapters.unload(lora)


def plainly(**fields: Any) -> Generation:
    """Return a generation that a plain call of the pipeline generates the same."""
    return generation(true_cfg_scale=0.0, negative_prompt="", deterministic=True, **fields)


def test_alone_it_is_bit_equal_to_diffusers_with_the_same_loras(engine):
    for loras in ((engine.lora("red"),), (engine.lora("blue", 0.4), engine.lora("red", -0.7)), ()):
        wanted = plainly(loras=loras)
        assert (engine.generate(wanted)[0] == engine.with_diffusers(wanted)).all()


def test_unloading_restores_the_base_bit_for_bit(engine):
    before, image = checksum(engine.pipeline), engine.generate(plainly())[0]
    changed = engine.generate(plainly(loras=(engine.lora("red"),)))[0]
    assert (changed != image).any()
    assert checksum(engine.pipeline) != before
    # Loaded and not asked for, it changes nothing; nor does what is left of two.
    assert (engine.generate(plainly())[0] == image).all()
    engine.loras.load(engine.lora("blue"))
    engine.loras.unload("red")
    assert engine.loras.names == ("blue",)
    assert (engine.generate(plainly())[0] == image).all()
    engine.loras.unload("blue")
    assert engine.loras.names == ()
    assert checksum(engine.pipeline) == before
    assert (engine.generate(plainly())[0] == image).all()


def test_the_same_set_shares_forwards_and_different_sets_never_do(engine):
    red, weaker = (engine.lora("red"),), (engine.lora("red", 0.5),)
    wanted = [
        generation(loras=loras, seed=seed, true_cfg_scale=0.0) for seed, loras in enumerate([red, red, weaker, ()])
    ]
    together = engine.generate(*wanted)
    assert sorted(engine.batches) == [1] * 8 + [2] * 4
    assert_alike(engine, wanted, together)
    assert (together[2] != engine.generate(generation(loras=red, seed=2, true_cfg_scale=0.0))[0]).any()


def test_a_neighbour_with_another_lora_leaves_an_image_as_it_is(flow):
    wanted = plainly(loras=(flow.lora("red"),), steps=6)
    alone = flow.generate(wanted)[0]
    others = [plainly(seed=5, steps=3), plainly(loras=(flow.lora("blue"),), steps=4, prompt="b")]
    assert (flow.generate(wanted, *others)[0] == alone).all()


def test_what_a_lora_does_to_the_text_encoder_is_done_to_the_prompts_of_its_images_alone(diffusion):
    text, red = (diffusion.lora("text"),), (diffusion.lora("red"),)
    wanted = [plainly(loras=loras) for loras in (text, red, (), text)]
    for one, generated in zip(wanted, diffusion.generate(*wanted), strict=True):
        assert (generated == diffusion.with_diffusers(one)).all()


def test_a_profiles_scheduler_is_that_of_its_images_alone(flow):
    quick = plainly(loras=(flow.lora("quick"),), steps=4)
    generated = flow.generate(quick, plainly(steps=4))
    stock = flow.build().scheduler
    changed = type(stock).from_config(stock.config, base_shift=math.log(3), max_shift=math.log(3))
    assert (generated[1] == flow.with_diffusers(plainly(steps=4))).all()
    assert (generated[0] == flow.with_diffusers(quick, scheduler=changed)).all()
    # What a request says goes first.
    named = plainly(loras=(flow.lora("quick"),), steps=4, scheduler="Euler Karras")
    assert (flow.generate(named)[0] != generated[0]).any()


@pytest.mark.fault(48)
def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(flow, diffusion):
    for engine, other in ((flow, diffusion), (diffusion, flow)):
        (other.path / "foreign.safetensors").write_bytes(engine.folder.find("red").path.read_bytes())
    before = [checksum(engine.pipeline) for engine in (flow, diffusion)]
    for engine in (flow, diffusion):
        [failure] = engine.generate(generation(loras=(engine.lora("foreign"),)))
        assert (failure.code, failure.param) == ("invalid_parameter", "loras")
        assert failure.sentence.startswith("loras: foreign does not fit the model: ")
        assert "/" not in failure.sentence
    assert [checksum(engine.pipeline) for engine in (flow, diffusion)] == before


def test_one_of_the_same_kind_with_more_layers_is_refused_too_and_its_neighbour_stays(flow, tmp_path):
    big = flow.build()
    config = dict(big.transformer.config) | {"num_layers": 3}
    big.transformer = type(big.transformer).from_config(config)
    save_lora(flow.path, "deeper", big)
    wanted = plainly(loras=(flow.lora("red"),))
    alone = flow.generate(wanted)[0]
    [failure] = flow.generate(generation(loras=(flow.lora("deeper"),)))
    assert "does not fit the model" in failure.sentence
    assert flow.loras.names == ("red",)
    assert (flow.generate(wanted)[0] == alone).all()


@pytest.mark.fault(48)
@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_broken_file_is_refused(flow, content):
    (flow.path / "broken.safetensors").write_bytes(content)
    [failure] = flow.generate(generation(loras=(flow.lora("broken"),)))
    assert (failure.code, failure.param) == ("invalid_parameter", "loras")


def test_a_replaced_file_is_another_lora(flow):
    path = save_lora(flow.path, "changing", flow.pipeline, seed=8)
    old = plainly(loras=(flow.lora("changing"),))
    first = flow.generate(old)[0]
    save_lora(flow.path, "changing", flow.build(), seed=9)
    assert path.is_file()
    new = plainly(loras=(flow.lora("changing"),))
    assert new.loras != old.loras
    assert (flow.generate(new)[0] != first).any()
    # The old one is still loaded; unloading takes both.
    assert flow.loras.names.count("changing") == 2
    flow.loras.unload("changing")
    assert "changing" not in flow.loras.names
    [failure] = flow.generate(old)
    assert "has just been replaced" in failure.sentence


def test_the_least_recently_used_is_taken_off_when_there_are_many(flow, monkeypatch):
    monkeypatch.setattr("imageserver.engine.runner.lora_adapters.MAX_LOADED", 2)
    for name in ("red", "blue", "red", "quick"):
        flow.loras.load(flow.lora(name))
    assert flow.loras.names == ("quick", "red")


def test_one_that_is_being_generated_with_is_not_unloaded(flow):
    flow.add(1, generation(loras=(flow.lora("red"),)))
    flow.step(1)
    answer = flow.scheduler.change_loras(LoraRequest(job=2, unload="red"))
    assert answer.failure.code == "busy"
    assert "red" in flow.scheduler.change_loras(LoraRequest(job=3, load=flow.lora("blue"))).names
    flow.scheduler.cancel(1)
    assert flow.scheduler.change_loras(LoraRequest(job=4, unload="red")).names == ("blue",)


def test_what_loras_need_is_rehearsed_before_the_first_step_and_never_twice(flow, monkeypatch):
    """With COMPILE=1 it is compiled then, 45 s for some; a step would keep everybody waiting without a sign of life."""
    rehearsed = []

    def rehearse():
        assert not flow.batches, "no step has begun"
        rehearsed.append([(each.name, each.scale) for each in flow.loras.weights()[1]])

    monkeypatch.setattr(flow.loras, "rehearse", rehearse)
    flow.batches.clear()
    flow.scheduler.change_loras(LoraRequest(job=1, load=flow.lora("red")))
    assert rehearsed == [[("red", 1.0)], []], "and without it, for which the layers have changed too"
    rehearsed.clear()
    wanted = [generation(loras=(flow.lora("red", scale),)) for scale in (1.0, 0.5)]
    flow.generate(*wanted, generation())
    assert rehearsed == [], "scales and taking turns need nothing"
    flow.generate(generation(loras=(flow.lora("red"), flow.lora("blue", 0.5))))
    assert rehearsed == [[("blue", 0.5)], [], [("red", 1.0), ("blue", 0.5)]]
    rehearsed.clear()
    flow.batches.clear()
    flow.scheduler.change_loras(LoraRequest(job=2, unload="red"))
    assert rehearsed == [[]]


EXCLUDING = [
    (True, "model-offload", "with COMPILE=1 LoRAs need MEMORY=full or MEMORY=int8"),
    (False, "device-map", "by device-map"),
    (False, "nf4", "MEMORY=full or MEMORY=int8"),
]


@pytest.mark.parametrize(("compiled", "plan", "named"), EXCLUDING)
def test_what_excludes_loras_says_so(flow, compiled, plan, named):
    adapters = open_adapters(flow.pipeline, "transformer", flow.folder, compiled=compiled, plan=plan)
    with pytest.raises(InvalidParameter, match=named):
        adapters.load(flow.lora("red"))


@pytest.mark.parametrize(("name", "plan"), WAITING_IN_RAM)
def test_loras_generate_the_same_where_weights_wait_in_ram(name, plan, tmp_path, monkeypatch):
    """To load one, diffusers takes the offloading's hooks off, and puts them on again: for a card, here for the CPU."""
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.get_device", lambda: "cpu:0")
    folder = LoraFolder(save_lora(tmp_path, "red", BUILD[name](), text=name == "stable-diffusion").parent)
    red = generation(loras=(Lora(name="red", digest=folder.find("red").digest),), steps=3, seed=2)
    images, forwards = [], []
    for chosen in ("full", plan):
        pipeline = BUILD[name]()
        move_to_device(pipeline, BY_NAME[chosen], torch.device("cpu"))
        engine = TinyEngine(pipeline)
        adapters = open_adapters(
            pipeline, engine.family.denoiser, folder, compiled=False, plan=chosen, reinstall_gate=engine.gate.install
        )
        engine = TinyEngine(pipeline, adapters=adapters)
        engine.add(1, generation(steps=4))
        engine.step(2)
        # The first one is suspended between two steps meanwhile.
        engine.add(2, red)
        engine.run()
        forwards.append(list(engine.batches))
        images.append([engine.result(job) for job in (1, 2)] + engine.generate(generation(steps=4)))
    assert forwards[0] == forwards[1], "every one was computed between two steps, none inside the pipeline"
    assert all((one == other).all() for one, other in zip(*images, strict=True))
    assert (images[0][0] == images[0][2]).all()
    assert (images[0][0] != images[0][1]).any()


def test_a_profiles_scheduler_must_be_one(flow):
    save_lora(flow.path, "odd", flow.build(), scheduler={"_class_name": "QwenImagePipeline"})
    [failure] = flow.generate(generation(loras=(flow.lora("odd"),)))
    assert "QwenImagePipeline is not a scheduler" in failure.sentence
    assert json.loads((flow.path / "odd.json").read_text())
    assert isinstance(flow.pipeline.scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
