"""A LoRA is the same change of the model in the names of every trainer; what can't be read whole says why."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.lora_formats.adapter import read_adapter
from imageserver.engine.lora_formats.model_layers import ModelLayers
from imageserver.engine.lora_formats.refused import LoraRefused
from tests.support.lora_files import RANK, LoraSource, Tensors, changes_of
from tests.support.tiny_models import tiny_qwen_image

LAYERS = [
    f"transformer_blocks.{block}.{layer}"
    for block in range(2)
    for layer in ("attn.to_q", "attn.to_out.0", "attn.add_k_proj", "img_mlp.net.0.proj", "img_mod.1")
]
KOHYA = ("lora_down", "lora_up")


@pytest.fixture(scope="module")
def transformer() -> torch.nn.Module:
    return tiny_qwen_image().transformer


@pytest.fixture(scope="module")
def model(transformer: torch.nn.Module) -> ModelLayers:
    return ModelLayers({"transformer": transformer}, "transformer")


@pytest.fixture(scope="module")
def source(transformer: torch.nn.Module) -> LoraSource:
    return LoraSource(transformer, LAYERS)


def read(tmp_path: Path, model: ModelLayers, tensors: Tensors, metadata: dict[str, str] | None = None) -> Any:
    path = tmp_path / "a.safetensors"
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}, path, metadata
    )
    return read_adapter(path, model)


# Who writes it, how, and the strength that it has then.
NAMES: dict[str, tuple[dict[str, Any], float]] = {
    "diffusers": ({"prefix": "transformer."}, 1),
    "bare": ({}, 1),
    "bare with alpha (musubi-tuner's converter)": ({"alpha": 2}, 0.5),
    "DiffSynth": ({"ending": ".default.weight"}, 1),
    "DiffSynth, adapters in adapters": ({"ending": ".default_0.default.weight"}, 1),
    "peft's save_pretrained": ({"prefix": "base_model.model."}, 1),
    "peft's save_pretrained of a pipeline's part": ({"prefix": "base_model.model.transformer."}, 1),
    "ai-toolkit": ({"prefix": "diffusion_model."}, 1),
    "ComfyUI with alpha": ({"prefix": "diffusion_model.", "alpha": 2}, 0.5),
    "ComfyUI in kohya's words": ({"prefix": "diffusion_model.", "names": KOHYA, "alpha": 2}, 0.5),
    "a whole checkpoint's names": ({"prefix": "model.diffusion_model.", "alpha": 2}, 0.5),
    "Lightning": ({"names": KOHYA, "alpha": 8}, 2),
    "kohya": ({"prefix": "lora_unet_", "names": KOHYA, "alpha": 2, "flat": True}, 0.5),
    "kohya, alpha as a vector": (
        {"prefix": "lora_unet_", "names": KOHYA, "alpha": 2, "flat": True, "alpha_shape": (1,)}, 0.5,
    ),
    "kohya without alpha": ({"prefix": "lora_unet_", "names": KOHYA, "flat": True}, 1),
    "OneTrainer": ({"prefix": "transformer.", "names": KOHYA, "alpha": 2}, 0.5),
    "OneTrainer without alpha": ({"prefix": "transformer.", "names": KOHYA}, 1),
    "OneTrainer, older": ({"prefix": "lora_transformer_", "names": KOHYA, "alpha": 2, "flat": True}, 0.5),
    "diffusers with alpha": ({"prefix": "transformer.", "alpha": 2}, 0.5),
    "LyCORIS": ({"prefix": "lycoris_", "names": KOHYA, "alpha": 2, "flat": True}, 0.5),
    "old diffusers": ({"prefix": "transformer.", "names": ("lora.down", "lora.up")}, 1),
    "an export that cuts names": (
        {"prefix": "diffusion_model.", "spell": lambda name: name.removeprefix("tran")}, 1,
    ),
    "bfloat16": ({"prefix": "transformer.", "dtype": torch.bfloat16}, 1),
    "float16": ({"prefix": "diffusion_model.", "dtype": torch.float16}, 1),
    "float8 with alpha": ({"prefix": "diffusion_model.", "dtype": torch.float8_e4m3fn, "alpha": 8}, 2),
    "float8, the other kind": ({"prefix": "transformer.", "dtype": torch.float8_e5m2}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_trainers_file_is_the_same_change(name, tmp_path, model, source):
    how, strength = NAMES[name]
    found = changes_of(read(tmp_path, model, source.tensors(**how)), "transformer")
    wanted = source.changes(strength)
    assert found.keys() == wanted.keys()
    assert max(float((found[layer] - wanted[layer]).abs().max()) for layer in wanted) == 0


def test_the_names_of_an_attentions_processor_are_those_of_its_layers(tmp_path, model, transformer):
    attention = LoraSource(transformer, ["transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_out.0"])

    def spell(layer: str) -> str:
        return f"{layer.removesuffix('.0').replace('.attn.', '.attn.processor.')}_lora"

    tensors = attention.tensors("transformer.", ("down", "up"), spell=spell)
    found = changes_of(read(tmp_path, model, tensors), "transformer")
    assert found.keys() == attention.changes().keys()
    assert all((found[layer] == change).all() for layer, change in attention.changes().items())


@pytest.mark.fault(48)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"nan"'])
def test_a_strength_in_the_metadata_that_is_no_number_is_refused(value, tmp_path, model, source):
    of_all = f'{{"transformer.lora_alpha": {value}}}'
    of_one = f'{{"transformer.lora_alpha": 2, "transformer.alpha_pattern": {{"attn.to_q": {value}}}}}'
    for note in (of_all, of_one):
        with pytest.raises(LoraRefused, match=r"lora_adapter_metadata gives the layer .* alpha (nan|inf)"):
            read(tmp_path, model, source.tensors("transformer."), {"lora_adapter_metadata": note})


def test_the_strength_that_diffusers_notes_in_the_metadata_counts(tmp_path, model, source):
    note = {"transformer.r": RANK, "transformer.lora_alpha": 2, "transformer.alpha_pattern": {"attn.to_q": 8}}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(note)}
    found = changes_of(read(tmp_path, model, source.tensors("transformer."), metadata), "transformer")
    for layer, change in source.changes().items():
        assert (found[layer] == change * (2 if layer.endswith("attn.to_q") else 0.5)).all()


def test_layers_may_have_ranks_and_alphas_of_their_own(tmp_path, model, source):
    tensors = source.tensors("diffusion_model.", KOHYA, alpha=2)
    first = f"diffusion_model.{LAYERS[0]}"
    down, up = tensors[f"{first}.lora_down.weight"], tensors[f"{first}.lora_up.weight"]
    tensors[f"{first}.lora_down.weight"] = torch.cat([down, torch.zeros_like(down)])
    tensors[f"{first}.lora_up.weight"] = torch.cat([up, torch.zeros_like(up)], 1)
    tensors[f"{first}.alpha"] = torch.tensor(8.0)
    found = changes_of(read(tmp_path, model, tensors), "transformer")
    for layer, change in source.changes().items():
        assert (found[layer] == change * (1 if layer == LAYERS[0] else 0.5)).all()


def test_a_loha_is_the_lora_that_has_the_same_effect(tmp_path, model, transformer):
    generator = torch.Generator().manual_seed(1)
    tensors, wanted = {}, {}
    for layer in LAYERS[:3]:
        outputs, inputs = transformer.get_submodule(layer).weight.shape
        shapes = {"w1_a": (outputs, 2), "w1_b": (2, inputs), "w2_a": (outputs, 3), "w2_b": (3, inputs)}
        parts = {each: torch.randint(-3, 4, shape, generator=generator).float() for each, shape in shapes.items()}
        wanted[layer] = 0.5 * (parts["w1_a"] @ parts["w1_b"]) * (parts["w2_a"] @ parts["w2_b"])
        name = f"lycoris_{layer.replace('.', '_')}"
        tensors |= {f"{name}.hada_{each}": tensor for each, tensor in parts.items()}
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    found = changes_of(read(tmp_path, model, tensors), "transformer")
    assert all(torch.allclose(found[layer], change, atol=1e-4) for layer, change in wanted.items())


def loha(left: int, right: int, *ranks: int) -> Tensors:
    """Return a LoHa for a layer: matrices of `ranks` with so many rows on the left and columns on the right."""
    shapes = [(left, ranks[0]), (ranks[0], right), (left, ranks[1]), (ranks[1], right)]
    generator = torch.Generator().manual_seed(5)
    parts = [torch.randint(-3, 4, shape, generator=generator).float() for shape in shapes]
    return {f"hada_{name}": part for name, part in zip(("w1_a", "w1_b", "w2_a", "w2_b"), parts, strict=True)}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_loha_of_high_rank_takes_no_more_than_its_layer(layer, tmp_path, model, transformer):
    outputs, inputs = transformer.get_submodule(layer).weight.shape
    parts = loha(outputs, inputs, 8, 8)
    tensors = {f"lycoris_{layer.replace('.', '_')}.{name}": part for name, part in parts.items()}
    tensors[f"lycoris_{layer.replace('.', '_')}.alpha"] = torch.tensor(2.0)
    adapters = read(tmp_path, model, tensors)
    assert len(adapters["transformer"].tensors[f"{layer}.lora_A.weight"]) == min(outputs, inputs)
    wanted = 0.25 * (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    assert (changes_of(adapters, "transformer")[layer] == wanted).all()


def test_a_loha_of_another_layer_is_refused_before_anything_is_computed(tmp_path, model, monkeypatch):
    monkeypatch.setattr(torch, "einsum", lambda *_: pytest.fail("its matrices were multiplied"))
    tensors = {f"{FIRST}.{name}": part for name, part in loha(4096, 2048, 2, 2).items()}
    with pytest.raises(LoraRefused, match=f"{FIRST} has 2048 inputs and 4096 outputs, the model's has 32 and 32"):
        read(tmp_path, model, tensors)


def test_whole_differences_of_weights_and_biases_are_used(tmp_path, model, transformer, source):
    weight = transformer.get_submodule(LAYERS[0]).weight
    change = torch.randint(-3, 4, weight.shape).float()
    tensors = source.tensors("diffusion_model.")
    for each in ("lora_A.weight", "lora_B.weight"):
        del tensors[f"diffusion_model.{LAYERS[0]}.{each}"]
    tensors[f"diffusion_model.{LAYERS[0]}.diff"] = change
    tensors[f"diffusion_model.{LAYERS[1]}.diff_b"] = torch.arange(float(len(source.up[LAYERS[1]])))
    adapters = read(tmp_path, model, tensors)
    assert (changes_of(adapters, "transformer")[LAYERS[0]] == change).all()
    assert (adapters["transformer"].tensors[f"{LAYERS[1]}.lora_B.bias"] == torch.arange(32.0)).all()
    assert (adapters["transformer"].tensors[f"{LAYERS[2]}.lora_B.bias"] == 0).all()


@pytest.mark.parametrize("alpha", [1.0, 48.0])
def test_a_difference_of_a_bias_is_added_as_it_is_and_pefts_own_bias_with_the_alpha(alpha, tmp_path, model, source):
    bias = torch.arange(32.0)
    for name, strength in (("diff_b", 1), ("lora_B.bias", alpha / RANK)):
        tensors = source.tensors("transformer.", alpha=alpha) | {f"{FIRST}.{name}": bias}
        adapter = read(tmp_path, model, tensors)["transformer"]
        added = adapter.tensors[f"{LAYERS[0]}.lora_B.bias"] * alpha / RANK
        assert torch.allclose(added, bias * strength, rtol=1e-6)


FIRST = f"transformer.{LAYERS[0]}"


def without(*endings: str) -> Any:
    return lambda tensors: {name: each for name, each in tensors.items() if not name.endswith(endings)}


def with_more(**more: torch.Tensor) -> Any:
    return lambda tensors: tensors | {f"{FIRST}.{name.replace('__', '.')}": each for name, each in more.items()}


# What is wrong with it, and what the sentence must name.
DAMAGED: dict[str, tuple[Any, str]] = {
    "one matrix up is missing": (without(f"{LAYERS[0]}.lora_B.weight"), f"{FIRST} has a matrix down and no"),
    "one matrix down is missing": (without(f"{LAYERS[0]}.lora_A.weight"), f"{FIRST} has a matrix up and no"),
    "all matrices up are missing": (without("lora_B.weight"), "has a matrix down and no matrix up"),
    "ranks do not match": (with_more(lora_A__weight=torch.zeros(3, 32)), f"{FIRST} do not fit each other"),
    "the layer has other inputs": (with_more(lora_A__weight=torch.zeros(4, 9)), f"{FIRST} has 9 inputs"),
    "NaN": (with_more(lora_A__weight=torch.full((4, 32), torch.nan)), f"{FIRST}.lora_A.weight contains NaN"),
    "infinite": (with_more(lora_B__weight=torch.full((32, 4), torch.inf)), f"{FIRST}.lora_B.weight contains NaN or"),
    "an infinite alpha": (with_more(alpha=torch.tensor(torch.inf)), f"alpha of its layer {FIRST} is inf"),
    "two alphas": (with_more(alpha=torch.ones(2)), f"alpha of its layer {FIRST} has 2 values"),
    "whole numbers": (with_more(lora_A__weight=torch.zeros(4, 32, dtype=torch.int8)), "consists of int8 numbers"),
    "DoRA on one layer": (with_more(dora_scale=torch.ones(32, 1)), "has no magnitude"),
    "DoRA over the inputs": (with_more(dora_scale=torch.ones(1, 32)), "one for each of its 32 outputs"),
    "LoKr on one layer": (
        lambda tensors: without(f"{LAYERS[0]}.lora_A.weight", f"{LAYERS[0]}.lora_B.weight")(tensors)
        | {f"{FIRST}.lokr_w1": torch.ones(4, 4), f"{FIRST}.lokr_w2": torch.ones(8, 8)},
        "is in the format LoKr, and others are not; convert the file to LoRA",
    ),
    "LoKr with a magnitude": (
        lambda tensors: {f"{FIRST}.lokr_w1": torch.ones(4, 4), f"{FIRST}.lokr_w2": torch.ones(8, 8)}
        | {f"{FIRST}.dora_scale": torch.ones(32, 1)},
        f"{FIRST} is in the format LoKr and has a magnitude beside it",
    ),
    "LoKr with a bias": (
        lambda tensors: {f"{FIRST}.lokr_w1": torch.ones(4, 4), f"{FIRST}.lokr_w2": torch.ones(8, 8)}
        | {f"{FIRST}.diff_b": torch.ones(32)},
        f"{FIRST} is in the format LoKr and has a bias_difference beside it",
    ),
    "LoKr with matrices": (
        lambda tensors: {f"{FIRST}.lokr_w1": torch.ones(4, 4), f"{FIRST}.lokr_w2": torch.ones(8, 8)}
        | {name: each for name, each in tensors.items() if name.startswith(FIRST)},
        f"{FIRST} is in the format LoKr and has a down beside it",
    ),
    "two biases": (
        with_more(lora_B__bias=torch.ones(32), diff_b=torch.ones(32)),
        f"{FIRST} mixes formats: bias, bias_difference, .*; convert the file to LoRA",
    ),
    "a bias that an alpha of 0 excludes": (
        with_more(alpha=torch.tensor(0.0), diff_b=torch.ones(32)), f"{FIRST} has a diff_b, and the alpha 0",
    ),
    "a LoHa of rank 0": (
        lambda tensors: {f"{FIRST}.{name}": part for name, part in loha(32, 32, 0, 2).items()},
        f"matrices of its layer {FIRST} do not fit each other",
    ),
    "half a LoHa": (lambda tensors: {f"{FIRST}.hada_w1_a": torch.ones(32, 2)}, "has no hada_w1_b and hada_w2_a"),
    "OFT": (with_more(oft_blocks=torch.ones(2, 2)), "is in the format OFT, .*; convert it to LoRA"),
    "BOFT": (with_more(boft_R__default=torch.ones(2, 2)), "is in the format BOFT"),
    "GLoRA": (with_more(a1__weight=torch.ones(2, 2)), "is in the format GLoRA"),
    "XLabs": (with_more(processor__qkv_lora1__down__weight=torch.ones(4, 4)), "is in the format of XLabs"),
    "a ComfyUI patch": (with_more(reshape_weight=torch.ones(2)), "is in the format a ComfyUI patch"),
    "a Control-LoRA": (lambda tensors: tensors | {"lora_controlnet": torch.ones(1)}, "is in the format a Control-LoRA"),
    "a textual inversion": (lambda tensors: {"emb_params": torch.ones(2, 4)}, "is in the format a textual inversion"),
    "(IA)³": (with_more(on_input=torch.ones(1), aaa__weight=torch.ones(1)), r"is in the format \(IA\)³"),
    "norms of LyCORIS": (with_more(w_norm=torch.ones(1)), "is in the format LyCORIS with trained norms"),
    "a whole weight": (lambda tensors: {f"{FIRST}.weight": torch.ones(32, 32)}, "is not a LoRA: .* TRANSFORMER_FILE"),
    "a name of no format": (with_more(something=torch.ones(1)), "something belongs to no LoRA format"),
    "a layer beyond the model's": (
        lambda tensors: tensors | {name.replace("blocks.0", "blocks.17"): each for name, each in tensors.items()},
        r"the model has no layer transformer\.transformer_blocks\.17\.",
    ),
    "a text encoder beside it": (
        lambda tensors: tensors
        | {
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(4, 64),
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(64, 4),
        },
        "the model has no layer lora_te_text_model_encoder_layers_0_mlp_fc1, which is one of a text encoder",
    ),
    "of FLUX": (
        lambda tensors: {
            f"diffusion_model.double_blocks.0.img_attn.qkv.{each}.weight": torch.ones(4, 4)
            for each in ("lora_A", "lora_B")
        },
        r"double_blocks\.0\.img_attn\.qkv \(its names are those of FLUX\)",
    ),
    "empty": (lambda tensors: {}, "contains no tensors"),
}  # fmt: skip


@pytest.mark.fault(48)
@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_not_understood_whole_is_refused_by_the_name_of_its_layer(damage, tmp_path, model, source):
    change, sentence = DAMAGED[damage]
    with pytest.raises(LoraRefused, match=sentence):
        read(tmp_path, model, change(source.tensors("transformer.")))


CONTENTS = {
    b"": "it is empty",
    b"  <!DOCTYPE html><html>login": "it is a web page",
    b"version https://git-lfs.github.com/spec/v1\noid": "it is a pointer of Git LFS",
    b"PK\x03\x04" + b"0" * 50: "it is a pickle or another zip archive",
    b'{"error": "Unauthorized"}': "an error message was saved",
    b"\x08\0\0\0\0\0\0\0{}      ": "it contains no tensors",
    b"no tensors": "has no readable header",
}


@pytest.mark.fault(48)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_that_is_something_else_is_called_what_it_is(content, tmp_path, model):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(LoraRefused, match=CONTENTS[content]):
        read_adapter(tmp_path / "a.safetensors", model)


def test_half_a_download_says_how_much_of_it_is_there(tmp_path, model, source):
    read(tmp_path, model, source.tensors("transformer."))
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-100])
    with pytest.raises(LoraRefused, match=f"has {len(whole) - 100} of {len(whole)} bytes"):
        read_adapter(tmp_path / "a.safetensors", model)
