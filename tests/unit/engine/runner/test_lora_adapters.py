"""LoRAs change images as diffusers' own do, keep to the images that asked for them, and leave no trace."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import family_of
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.lora_adapters import LoraAdapters, open_adapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, LoraRequest, Message, Run
from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_loras import save_lora

BUILD = {
    "qwen-image": tiny_models.tiny_qwen_image,
    "stable-diffusion": tiny_models.tiny_stable_diffusion,
    "stable-diffusion-xl": tiny_models.tiny_stable_diffusion_xl,
    "cogview4": tiny_models.tiny_cogview4,
    "hidream-i1": tiny_models.tiny_hidream,
    "flux": tiny_models.tiny_flux,
    "z-image": tiny_models.tiny_z_image,
}
ROOT = Path(__file__).resolve().parents[4]
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


class Shop:
    """A tiny model and LoRAs for it: `red` and `blue`, `text` for the text encoder too, `quick` with a profile."""

    def __init__(self, name: str, folder: Path) -> None:
        torch.set_grad_enabled(False)
        self.build = BUILD[name]
        self.pipeline = self.build()
        self.folder = LoraFolder(folder)
        self.family = family_of(type(self.pipeline).__name__)
        for seed, lora in enumerate(("red", "blue")):
            save_lora(folder, lora, self.pipeline, seed=seed)
        if name.startswith("stable"):
            save_lora(folder, "text", self.pipeline, seed=2, text=True)
        save_lora(folder, "quick", self.pipeline, seed=3, scheduler=LIGHTNING)
        self.family.customize(self.pipeline)
        self.gate = Gate(getattr(self.pipeline, self.family.denoiser))
        self.adapters = LoraAdapters(self.pipeline, self.family.denoiser, self.folder)
        self.runner = PipelineRunner(self.pipeline, self.family, adapters=self.adapters)
        self.batches: list[int] = []
        self.sent: list[tuple[Message, bytes]] = []
        model = ServedModel(
            self.runner, self.forward, merger=self.family.merger, cap_of=lambda pixels: 8, adapters=self.adapters
        )
        self.turns = StepScheduler({"": model}, lambda *frame: self.sent.append(frame))

    def forward(self, **arguments: Any) -> Any:
        self.batches.append(self.family.merger.batch_size(arguments))
        return self.gate.forward(**arguments)

    def lora(self, name: str, scale: float = 1.0) -> Lora:
        return Lora(name=name, digest=self.folder.find(name).digest, scale=scale)

    def generate(self, *wanted: Generation) -> list[Any]:
        """Generate together; return each image, or the failure."""
        self.batches.clear()
        self.sent.clear()
        for number, one in enumerate(wanted):
            self.turns.add(Run(job=number, generation=one))
        while self.turns.busy:
            self.turns.step()
        ends = {message.job: (message, raw) for message, raw in self.sent if isinstance(message, Finished | Failed)}
        return [
            message if isinstance(message, Failed) else np.frombuffer(raw, np.uint8).reshape(64, 64, 3).astype(int)
            for message, raw in (ends[number] for number in range(len(wanted)))
        ]

    def plain(self, wanted: Generation) -> np.ndarray:
        """Return what diffusers alone generates with the same LoRAs."""
        pipeline = self.build()
        self.family.customize(pipeline)
        for lora in wanted.loras:
            path = self.folder.find(lora.name).path
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=lora.name)
        if wanted.loras:
            pipeline.set_adapters([each.name for each in wanted.loras], [each.scale for each in wanted.loras])
        # HiDream-I1 would generate at 1024 x 1024.
        pipeline.default_sample_size = 64 // pipeline.vae_scale_factor
        image = pipeline(
            prompt=wanted.prompt, negative_prompt=wanted.negative_prompt.strip(), width=64, height=64,
            num_inference_steps=wanted.steps, generator=torch.Generator("cpu").manual_seed(wanted.seed),
            **{self.family.guidance: wanted.true_cfg_scale},
        ).images[0]  # fmt: skip
        return np.asarray(image).astype(int)


@pytest.fixture(scope="module", params=BUILD)
def shop(request, tmp_path_factory) -> Shop:
    return Shop(request.param, tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def flow(tmp_path_factory) -> Shop:
    return Shop("qwen-image", tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory) -> Shop:
    return Shop("stable-diffusion", tmp_path_factory.mktemp("loras"))


@pytest.fixture(autouse=True)
def _nothing_is_loaded(request) -> None:
    """Take off what the tests before have loaded: they come in any order."""
    for name in {"shop", "flow", "diffusion"} & set(request.fixturenames):
        adapters = request.getfixturevalue(name).adapters
        for lora in set(adapters.names):
            adapters.unload(lora)


def plainly(**fields: Any) -> Generation:
    """Return a generation that a plain call of the pipeline generates the same."""
    return generation(true_cfg_scale=0.0, negative_prompt="", deterministic=True, **fields)


def test_alone_it_is_bit_equal_to_diffusers_with_the_same_loras(shop):
    for loras in ((shop.lora("red"),), (shop.lora("blue", 0.4), shop.lora("red", -0.7)), ()):
        wanted = plainly(loras=loras)
        assert (shop.generate(wanted)[0] == shop.plain(wanted)).all()


def test_unloading_restores_the_base_bit_for_bit(shop):
    before, image = checksum(shop.pipeline), shop.generate(plainly())[0]
    changed = shop.generate(plainly(loras=(shop.lora("red"),)))[0]
    assert (changed != image).any()
    assert checksum(shop.pipeline) != before
    # Loaded and not asked for, it changes nothing; nor does what is left of two.
    assert (shop.generate(plainly())[0] == image).all()
    shop.adapters.load(shop.lora("blue"))
    shop.adapters.unload("red")
    assert shop.adapters.names == ("blue",)
    assert (shop.generate(plainly())[0] == image).all()
    shop.adapters.unload("blue")
    assert shop.adapters.names == ()
    assert checksum(shop.pipeline) == before
    assert (shop.generate(plainly())[0] == image).all()


def test_the_same_set_shares_forwards_and_different_sets_never_do(shop):
    red, weaker = (shop.lora("red"),), (shop.lora("red", 0.5),)
    wanted = [
        generation(loras=loras, seed=seed, true_cfg_scale=0.0) for seed, loras in enumerate([red, red, weaker, ()])
    ]
    together = shop.generate(*wanted)
    assert sorted(shop.batches) == [1] * 8 + [2] * 4
    for one, generated in zip(wanted, together, strict=True):
        assert np.abs(generated - shop.generate(one)[0]).max() <= 1
    assert (together[2] != shop.generate(generation(loras=red, seed=2, true_cfg_scale=0.0))[0]).any()


def test_a_neighbour_with_another_lora_leaves_a_image_as_it_is(flow):
    wanted = plainly(loras=(flow.lora("red"),), steps=6)
    alone = flow.generate(wanted)[0]
    others = [plainly(seed=5, steps=3), plainly(loras=(flow.lora("blue"),), steps=4, prompt="b")]
    assert (flow.generate(wanted, *others)[0] == alone).all()


def test_what_a_lora_does_to_the_text_encoder_is_done_to_the_prompts_of_its_images_alone(diffusion):
    text, red = (diffusion.lora("text"),), (diffusion.lora("red"),)
    wanted = [plainly(loras=loras) for loras in (text, red, (), text)]
    for one, generated in zip(wanted, diffusion.generate(*wanted), strict=True):
        assert (generated == diffusion.plain(one)).all()


def test_a_profiles_scheduler_is_that_of_its_images_alone(flow):
    quick = plainly(loras=(flow.lora("quick"),), steps=4)
    generated = flow.generate(quick, plainly(steps=4))
    stock = flow.build().scheduler
    changed = type(stock).from_config(stock.config, base_shift=math.log(3), max_shift=math.log(3))
    assert (generated[1] == flow.plain(plainly(steps=4))).all()
    flow.build, build = lambda: _with(build(), changed), flow.build
    try:
        assert (generated[0] == flow.plain(quick)).all()
    finally:
        flow.build = build
    # What a request says goes first.
    named = plainly(loras=(flow.lora("quick"),), steps=4, scheduler="Euler Karras")
    assert (flow.generate(named)[0] != generated[0]).any()


def _with(pipeline: Any, scheduler: Any) -> Any:
    pipeline.scheduler = scheduler
    return pipeline


def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(flow, diffusion):
    for shop, other in ((flow, diffusion), (diffusion, flow)):
        (other.folder._folders[0] / "foreign.safetensors").write_bytes(shop.folder.find("red").path.read_bytes())
    before = [checksum(shop.pipeline) for shop in (flow, diffusion)]
    for shop in (flow, diffusion):
        [failure] = shop.generate(generation(loras=(shop.lora("foreign"),)))
        assert (failure.code, failure.param) == ("invalid_parameter", "loras")
        assert failure.sentence.startswith("loras: foreign does not fit the model: ")
        assert "/" not in failure.sentence
    assert [checksum(shop.pipeline) for shop in (flow, diffusion)] == before


def test_one_of_the_same_kind_with_more_layers_is_refused_too_and_its_neighbour_stays(flow, tmp_path):
    big = flow.build()
    config = dict(big.transformer.config) | {"num_layers": 3}
    big.transformer = type(big.transformer).from_config(config)
    save_lora(flow.folder._folders[0], "deeper", big)
    wanted = plainly(loras=(flow.lora("red"),))
    alone = flow.generate(wanted)[0]
    [failure] = flow.generate(generation(loras=(flow.lora("deeper"),)))
    assert "does not fit the model" in failure.sentence
    assert flow.adapters.names == ("red",)
    assert (flow.generate(wanted)[0] == alone).all()


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_broken_file_is_refused(flow, content):
    (flow.folder._folders[0] / "broken.safetensors").write_bytes(content)
    [failure] = flow.generate(generation(loras=(flow.lora("broken"),)))
    assert (failure.code, failure.param) == ("invalid_parameter", "loras")


@pytest.mark.parametrize("error", [IndexError("list index out of range"), AssertionError(), ImportError("No dctorch.")])
def test_whatever_a_file_makes_diffusers_raise_is_told_to_whoever_loads_it(flow, monkeypatch, error):
    def load(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(flow.pipeline, "load_lora_weights", load, raising=False)
    answer = flow.turns.change_loras(LoraRequest(job=2, load=flow.lora("red")))
    assert (answer.failure.code, answer.failure.param) == ("invalid_parameter", "loras")
    assert str(error) in answer.failure.sentence
    assert flow.adapters.names == ()


def test_a_replaced_file_is_another_lora(flow):
    path = save_lora(flow.folder._folders[0], "changing", flow.pipeline, seed=8)
    old = plainly(loras=(flow.lora("changing"),))
    first = flow.generate(old)[0]
    save_lora(flow.folder._folders[0], "changing", flow.build(), seed=9)
    assert path.is_file()
    new = plainly(loras=(flow.lora("changing"),))
    assert new.loras != old.loras
    assert (flow.generate(new)[0] != first).any()
    # The old one is still loaded; unloading takes both.
    assert flow.adapters.names.count("changing") == 2
    flow.adapters.unload("changing")
    assert "changing" not in flow.adapters.names
    [failure] = flow.generate(old)
    assert "has just been replaced" in failure.sentence


def test_the_least_recently_used_is_taken_off_when_there_are_many(flow, monkeypatch):
    monkeypatch.setattr("imageserver.engine.runner.lora_adapters.MAX_LOADED", 2)
    for name in ("red", "blue", "red", "quick"):
        flow.adapters.load(flow.lora(name))
    assert flow.adapters.names == ("quick", "red")


def test_one_that_is_being_generated_with_is_not_unloaded(flow):
    flow.turns.add(Run(job=1, generation=generation(loras=(flow.lora("red"),))))
    flow.turns.step()
    answer = flow.turns.change_loras(LoraRequest(job=2, unload="red"))
    assert answer.failure.code == "busy"
    assert "red" in flow.turns.change_loras(LoraRequest(job=3, load=flow.lora("blue"))).names
    flow.turns.cancel(1)
    assert flow.turns.change_loras(LoraRequest(job=4, unload="red")).names == ("blue",)


EXCLUDING = [
    (True, "full", "COMPILE"),
    (False, "model-offload", "by model-offload"),
    (False, "nf4", "MEMORY=full or MEMORY=int8"),
]


@pytest.mark.parametrize(("compiled", "plan", "named"), EXCLUDING)
def test_what_excludes_loras_says_so(flow, compiled, plan, named):
    adapters = open_adapters(flow.pipeline, "transformer", flow.folder, compiled=compiled, plan=plan)
    with pytest.raises(InvalidParameter, match=named):
        adapters.load(flow.lora("red"))


INT8 = """
import sys
import numpy as np
from imageserver.engine.models.model_pool import open_model_pool
from imageserver.generation import Lora
from imageserver.lora_folder import PACKAGED, LoraFolder
from imageserver.protocol.messages import Failed, Finished, Run
from imageserver.settings import Settings
from tests.support.factories import generation

night = Lora(name="night", digest=LoraFolder(PACKAGED).find("night").digest)

def opened(memory):
    sent = []
    settings = Settings(_env_file=None, model="demo", device="cpu", memory=memory, state_dir=sys.argv[1], max_batch=1)
    shop = open_model_pool(settings, lambda *news: None, lambda *frame: sent.append(frame))

    def generate(*loras):
        wanted = generation("a red circle", model="demo", width=128, height=128, steps=6, loras=loras)
        sent.clear()
        shop.add(Run(job=1, generation=wanted), b"")
        while not sent or not isinstance(sent[-1][0], Finished):
            shop.step_scheduler.step()
            assert not any(isinstance(message, Failed) for message, _ in sent), sent
        return np.frombuffer(sent[-1][1], np.uint8).astype(int)

    return shop._models["demo"], generate

def parts(model):
    return {name: (type(part), id(getattr(part, "weight", None))) for name, part in transformer.named_modules()}

_, generate_exactly = opened("full")
model, generate = opened("int8")
transformer = model.runner._own.transformer
before, base = generate(), parts(model)
dark = generate(night)
assert parts(model) != base
model.adapters.unload("night")
assert parts(model) == base
assert (generate() == before).all()
print(np.abs(dark - generate_exactly(night)).mean(), np.abs(dark - before).mean())
"""


def test_beside_weights_of_eight_bits_it_generates_nearly_the_same_and_leaves_no_trace(tmp_path):
    optional = Path(sys.executable).parents[1] / "optional"
    assert (optional / "torchao").is_dir(), "run: .venv/bin/python tools/setup_environment.py --dev"
    done = subprocess.run(
        [sys.executable, "-W", "error:TorchaoLoraLinear", "-c", INT8, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{optional}"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    difference, effect = map(float, done.stdout.split()[-2:])
    assert difference < 3
    assert effect > 10


def test_a_profiles_scheduler_must_be_one(flow):
    save_lora(flow.folder._folders[0], "odd", flow.build(), scheduler={"_class_name": "QwenImagePipeline"})
    [failure] = flow.generate(generation(loras=(flow.lora("odd"),)))
    assert "QwenImagePipeline is not a scheduler" in failure.sentence
    assert json.loads((flow.folder._folders[0] / "odd.json").read_text())
    assert isinstance(flow.pipeline.scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
