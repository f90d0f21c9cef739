"""Every kind of LoRA generates what the model generates with the same change in its weights, and leaves no trace."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.lora_installation import NotInstalled
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from tests.support.factories import generation
from tests.support.lora_files import LoraSource, Tensors
from tests.support.tiny_engine import TinyEngine, difference
from tests.support.tiny_models import tiny_qwen_image, tiny_stable_diffusion

LAYERS = [f"transformer_blocks.{block}.attn.{layer}" for block in range(2) for layer in ("to_q", "to_v", "to_out.0")]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# A kind returns the tensors of a layer in a file, and the layer's new weight and bias.
Kind = Callable[[str, torch.nn.Linear], tuple[Tensors, torch.Tensor, torch.Tensor]]


def lokr(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    first, second = random(4, 4), random(8, 8, seed=1)
    change = torch.kron(first, second)
    return {f"{name}.lokr_w1": first, f"{name}.lokr_w2": second}, layer.weight + change, layer.bias


def lokr_of_low_rank(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    first, left, right = random(4, 4), random(8, 2, seed=1), random(2, 8, seed=2)
    change = 0.5 * torch.kron(first, left @ right)
    tensors = {f"{name}.lokr_w1": first, f"{name}.lokr_w2_a": left, f"{name}.lokr_w2_b": right}
    return tensors | {f"{name}.alpha": torch.tensor(1.0)}, layer.weight + change, layer.bias


def dora(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    down, up, magnitude = random(2, 32), random(32, 2, seed=1), 1 + random(32, 1, seed=2)
    changed = layer.weight + 0.5 * up @ down
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.dora_scale": magnitude}
    weight = magnitude * changed / changed.norm(dim=1, keepdim=True)
    return tensors | {f"{name}.alpha": torch.tensor(1.0)}, weight, layer.bias


def with_bias(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    down, up, bias = random(2, 32), random(32, 2, seed=1), random(32, seed=2)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.diff_b": bias}
    return tensors, layer.weight + up @ down, layer.bias + bias


def with_bias_and_alpha(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    down, up, bias = random(16, 32), random(32, 16, seed=1), random(32, seed=2)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.diff_b": bias}
    return tensors | {f"{name}.alpha": torch.tensor(1.0)}, layer.weight + up @ down / 16, layer.bias + bias


def loha(name: str, layer: torch.nn.Linear) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    sizes = {"w1_a": (32, 2), "w1_b": (2, 32), "w2_a": (32, 2), "w2_b": (2, 32)}
    parts = {each: random(*size, seed=seed) for seed, (each, size) in enumerate(sizes.items())}
    change = (parts["w1_a"] @ parts["w1_b"]) * (parts["w2_a"] @ parts["w2_b"])
    return {f"{name}.hada_{each}": tensor for each, tensor in parts.items()}, layer.weight + change, layer.bias


KINDS: dict[str, Kind] = {
    "LoKr": lokr, "LoKr of low rank": lokr_of_low_rank, "DoRA": dora, "with biases": with_bias, "LoHa": loha,
    "with biases and an alpha": with_bias_and_alpha,
}  # fmt: skip


class Workbench(TinyEngine):
    """An engine, a folder of LoRAs for it, and the same model with changed weights."""

    def __init__(self, pipeline: Any, folder: Path) -> None:
        self.folder, self.files = folder, LoraFolder(folder)
        self.loras = LoraAdapters(pipeline, "unet" if hasattr(pipeline, "unet") else "transformer", self.files)
        super().__init__(pipeline, adapters=self.loras)

    def lora(self, name: str) -> Lora:
        return Lora(name=name, digest=self.files.find(name).digest)

    def write(self, name: str, tensors: Tensors) -> None:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, self.folder / f"{name}.safetensors")

    def write_kind(self, name: str, kind: Kind) -> None:
        made = [kind(f"diffusion_model.{layer}", self.denoiser.get_submodule(layer))[0] for layer in LAYERS]
        self.write(name, {key: tensor for each in made for key, tensor in each.items()})

    def image(self, *names: str) -> np.ndarray:
        [image] = self.generate(wanted(loras=tuple(self.lora(name) for name in sorted(names))))
        assert isinstance(image, np.ndarray), image
        return image

    def with_changed_weights(self, *kinds: Kind) -> np.ndarray:
        kept = {layer: self.denoiser.get_submodule(layer).state_dict() for layer in LAYERS}
        kept = {layer: {key: tensor.clone() for key, tensor in state.items()} for layer, state in kept.items()}
        for kind, layer in itertools.product(kinds, LAYERS):
            module = self.denoiser.get_submodule(layer)
            _, weight, bias = kind(layer, module)
            module.load_state_dict({"weight": weight, "bias": bias})
        try:
            return self.image()
        finally:
            for layer, state in kept.items():
                self.denoiser.get_submodule(layer).load_state_dict(state)


def wanted(**fields: Any) -> Generation:
    return generation(true_cfg_scale=0.0, negative_prompt="", deterministic=True, steps=2, **fields)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    bench = Workbench(tiny_qwen_image(), tmp_path_factory.mktemp("loras"))
    for name, kind in KINDS.items():
        bench.write_kind(name, kind)
    source = LoraSource(bench.denoiser, LAYERS)
    bench.write("plain", source.tensors("transformer."))
    return bench


@pytest.fixture
def bench(shared: Workbench) -> Workbench:
    for name in set(shared.loras.names):
        shared.loras.unload(name)
    return shared


@pytest.mark.parametrize("name", KINDS)
def test_it_generates_what_changed_weights_generate(name, bench):
    before = bench.image()
    changed = bench.image(name)
    assert np.abs(changed - before).mean() > 0.2
    bench.loras.unload(name)
    assert (bench.image() == before).all()
    assert difference(bench.with_changed_weights(KINDS[name]), changed) <= 1


@pytest.mark.parametrize(
    "order", [("plain", "LoKr"), ("LoKr", "plain"), ("with biases", "plain"), ("LoKr", "with biases")]
)
def test_two_kinds_at_a_time_leave_each_other_alone(order, bench):
    base, alone = bench.image(), {}
    for name in order:
        alone[name] = bench.image(name)
        bench.loras.unload(name)
    for name in order:
        bench.image(name)
    both = bench.image(*order)
    assert all((both != image).any() for image in (base, *alone.values()))
    for name in order:
        assert difference(bench.image(name), alone[name]) <= 1
    bench.loras.unload(order[0])
    assert (bench.image() == base).all()
    assert difference(bench.image(order[1]), alone[order[1]]) <= 1
    bench.loras.unload(order[1])
    assert (bench.image() == base).all()


@pytest.mark.fault(48)
def test_half_a_lora_in_another_number_format_leaves_no_trace_in_anybodys_images(bench):
    base, plain = bench.image(), bench.image("plain")
    half = LoraSource(bench.denoiser, LAYERS).tensors("transformer.", dtype=torch.bfloat16)
    del half[f"transformer.{LAYERS[1]}.lora_B.weight"]
    bench.write("half", half)
    for _ in range(2):
        [failure] = bench.generate(wanted(loras=(bench.lora("half"),)))
        assert failure.sentence == (
            f"loras: half cannot be used: its layer transformer.{LAYERS[1]} has a matrix down and no matrix up."
        )
        assert bench.loras.names == ("plain",)
        assert (bench.image("plain") == plain).all()
        assert (bench.image() == base).all()
    bench.loras.unload("plain")
    assert not any("lora" in name for name, _ in bench.denoiser.named_modules())


def not_placed(*_: Any) -> None:
    raise NotInstalled("nothing was placed in the model")


@pytest.mark.parametrize("damage", ["not understood", "not placed"])
def test_one_that_is_refused_pushes_out_no_other(damage, bench, monkeypatch):
    monkeypatch.setattr("imageserver.engine.runner.lora_adapters.MAX_LOADED", 2)
    plain = bench.image("plain")
    bench.loras.load(bench.lora("with biases"))
    bench.write("refused", LoraSource(bench.denoiser, LAYERS, seed=7).tensors("transformer."))
    if damage == "not understood":
        (bench.folder / "refused.safetensors").write_bytes(b"no tensors")
    else:
        monkeypatch.setattr("imageserver.engine.runner.lora_installation._check", not_placed)
    with pytest.raises(InvalidParameter, match="refused"):
        bench.loras.load(bench.lora("refused"))
    assert bench.loras.names == ("plain", "with biases")
    assert (bench.image("plain") == plain).all()


def test_loras_of_several_number_formats_share_an_image(bench):
    for kind in (torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        name = str(kind).removeprefix("torch.")
        bench.write(name, LoraSource(bench.denoiser, LAYERS, seed=3).tensors("transformer.", dtype=kind))
    images = [bench.image(name, "plain") for name in ("bfloat16", "float16", "float8_e4m3fn")]
    assert all(difference(images[0], image) <= 1 for image in images)


@pytest.mark.parametrize(
    ("name", "sentence"), [("LoKr", "convert"), ("DoRA", "its layer conv_in is a convolution; convert")]
)
def test_what_a_kind_cannot_do_is_said_before_the_model_is_touched(name, sentence, tmp_path):
    pipeline = tiny_stable_diffusion()
    bench = Workbench(pipeline, tmp_path)
    layer, conv = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "conv_in"
    sizes = {each: pipeline.unet.get_submodule(each).weight.shape for each in (layer, conv)}
    parts = {
        "LoKr": {
            f"lora_unet_{conv}.lokr_w1": random(2, 2),
            f"lora_unet_{conv}.lokr_w2": random(16, 2),
            f"lora_unet_{conv}.dora_scale": random(32, 1),
        },
        "DoRA": {
            f"lora_unet_{each.replace('.', '_')}.{part}": tensor
            for each in (layer, conv)
            for part, tensor in {
                "lora_down.weight": random(2, *sizes[each][1:]),
                "lora_up.weight": random(sizes[each][0], 2),
                "dora_scale": random(sizes[each][0], 1),
            }.items()
        },
    }
    bench.write(name, parts[name])
    with pytest.raises(InvalidParameter, match=sentence):
        bench.loras.load(bench.lora(name))
    assert not any("lora" in key for key, _ in pipeline.unet.named_modules())


def test_a_text_encoders_layers_have_the_strength_that_the_file_says(tmp_path):
    bench = Workbench(tiny_stable_diffusion(), tmp_path)
    encoder, unet = bench.pipeline.text_encoder, bench.denoiser
    prefix = "text_model." if hasattr(encoder, "text_model") else ""
    of_text = f"{prefix}encoder.layers.0.mlp.fc1"
    unet_layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    text, image = LoraSource(encoder, [of_text]), LoraSource(unet, [unet_layer])
    kohya = ("lora_down", "lora_up")
    tensors = image.tensors("lora_unet_", kohya, alpha=2, flat=True)
    bench.write("both", tensors | text.tensors(
        "lora_te_", kohya, alpha=2, flat=True, spell=lambda name: f"text_model.{name.removeprefix(prefix)}"
    ))  # fmt: skip
    changed = bench.image("both")
    bench.loras.unload("both")
    before = bench.image()
    for module, change in (
        (encoder.get_submodule(of_text), text.changes(0.5)[of_text]),
        (unet.get_submodule(unet_layer), image.changes(0.5)[unet_layer]),
    ):
        module.weight.data.add_(change)
    bench.runner.embeddings = EmbeddingCache(2)  # the other one has the texts of the unchanged weights
    assert difference(bench.image(), changed) <= 1
    assert (changed != before).any()
