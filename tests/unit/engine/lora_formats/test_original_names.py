"""LoRAs with the layer names of a model's authors are what diffusers' own converters make of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    ZImagePipeline,
)
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file

from imageserver.engine.lora_formats import original_names
from imageserver.engine.lora_formats.adapter import read_adapter
from imageserver.engine.lora_formats.model_layers import ModelLayers
from imageserver.engine.lora_formats.naming import parse
from imageserver.engine.lora_formats.refused import LoraRefused
from tests.support.lora_files import Tensors, changes_of
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_models import tiny_flux, tiny_stable_diffusion, tiny_stable_diffusion_xl, tiny_z_image

FLUX = (
    "double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn.proj", "double_blocks.0.txt_attn.qkv",
    "double_blocks.0.txt_attn.proj", "double_blocks.0.img_mlp.0", "double_blocks.0.img_mlp.2",
    "double_blocks.0.txt_mlp.0", "double_blocks.0.txt_mlp.2", "double_blocks.0.img_mod.lin",
    "double_blocks.0.txt_mod.lin", "single_blocks.0.linear1", "single_blocks.0.linear2",
    "single_blocks.0.modulation.lin",
)  # fmt: skip
# As published: ai-toolkit's and kohya's files of FLUX.2-klein.
FLUX2 = (
    "double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn.proj", "double_blocks.0.txt_attn.qkv",
    "double_blocks.0.txt_attn.proj", "double_blocks.0.img_mlp.0", "double_blocks.0.img_mlp.2",
    "double_blocks.0.txt_mlp.0", "double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.0.linear2",
    "single_blocks.1.linear1",
)  # fmt: skip
Z_IMAGE = ("layers.0.attention.qkv", "layers.1.attention.out", "noise_refiner.0.feed_forward.w1")


def parts_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {name: part for name in pipeline._lora_loadable_modules if (part := getattr(pipeline, name, None))}


def layers_of(pipeline: Any) -> ModelLayers:
    return ModelLayers(parts_of(pipeline), "unet" if hasattr(pipeline, "unet") else "transformer")


def tensors_for(model: ModelLayers, names: Any, prefix: str, kinds: tuple[str, str], *, flat: bool) -> Tensors:
    """Return random matrices for layers by their original names, in the sizes of the model's."""
    generator = torch.Generator().manual_seed(0)
    found: Tensors = {}
    for name in names:
        place = model.find(prefix + (name.replace(".", "_") if flat else name))
        assert place is not None, name
        first, outputs = place.layers[0], sum(layer.outputs for layer in place.layers)
        base = prefix + (name.replace(".", "_") if flat else name)
        ones = tuple(1 for _ in first.kernel)
        found[f"{base}.{kinds[0]}.weight"] = torch.randn(2, first.inputs, *first.kernel, generator=generator)
        found[f"{base}.{kinds[1]}.weight"] = torch.randn(outputs, 2, *ones, generator=generator)
        if flat:
            found[f"{base}.alpha"] = torch.tensor(1.0)
    return found


def ours(tmp_path: Path, model: ModelLayers, tensors: Tensors, part: str) -> Tensors:
    save_file(tensors, tmp_path / "a.safetensors")
    return changes_of(read_adapter(tmp_path / "a.safetensors", model), part)


def of_diffusers(converted: Any, part: str) -> Tensors:
    """Return the changes that are in what a converter of diffusers returns."""
    return {
        name.removeprefix(f"{part}.").removesuffix(".lora_A.weight"): torch.tensordot(
            converted[name.replace("lora_A", "lora_B")].flatten(1), down, 1
        )
        for name, down in converted.items()
        if name.endswith(".lora_A.weight")
    }


CONVERTERS: dict[str, tuple[Callable[[], Any], Any, tuple[str, ...]]] = {
    "flux": (tiny_flux, FluxPipeline, FLUX),
    "z-image": (tiny_z_image, ZImagePipeline, Z_IMAGE),
}


@pytest.mark.parametrize("name", CONVERTERS)
def test_kohyas_files_are_what_diffusers_makes_of_them(name, tmp_path):
    build, pipeline_class, names = CONVERTERS[name]
    # diffusers cannot split what Z-Image joins, and splits FLUX's by the real model's sizes.
    names = tuple(each for each in names if each not in ("layers.0.attention.qkv", "single_blocks.0.linear1"))
    model = layers_of(build())
    tensors = tensors_for(model, names, "lora_unet_", ("lora_down", "lora_up"), flat=True)
    found = ours(tmp_path, model, tensors, "transformer")
    wanted = of_diffusers(pipeline_class.lora_state_dict(dict(tensors)), "transformer")
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[layer], change, atol=1e-5) for layer, change in wanted.items())


# A whole model on no device, and the converter of whole checkpoints with its authors' names.
WHOLE: dict[str, tuple[Callable[[], torch.nn.Module], Callable[..., Any]]] = {
    # The converter knows only the real sizes.
    "flux": (
        lambda: FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True),
        single_file_utils.convert_flux_transformer_checkpoint_to_diffusers,
    ),
    "flux2": (
        lambda: Flux2Transformer2DModel(num_layers=1, num_single_layers=1, num_attention_heads=2),
        single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers,
    ),
    "z-image": (
        lambda: tiny_z_image().transformer, single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers,
    ),
}  # fmt: skip
NORMS = (
    *(f"double_blocks.0.{side}_attn.norm.{each}_norm.scale" for side in ("img", "txt") for each in ("query", "key")),
    *(f"single_blocks.0.norm.{each}_norm.scale" for each in ("query", "key")),
)


@pytest.mark.parametrize("name", WHOLE)
def test_every_value_is_where_diffusers_puts_it_in_a_whole_checkpoint(name, tmp_path):
    """The converter of checkpoints is the reference, for the names and for the order of what is joined or swapped."""
    build, convert = WHOLE[name]
    with torch.device("meta" if name != "z-image" else "cpu"):
        transformer = build()
    model = ModelLayers({"transformer": transformer}, "transformer")
    layers = {each for each, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    originals = original_names.of(type(transformer).__name__, layers)
    kept = layers - {each for original in originals.values() for each in original.layers}
    tensors: Tensors = {}
    for seed, original in enumerate([*originals, *kept]):
        place = model.find(original)
        assert place is not None
        generator = torch.Generator().manual_seed(seed)
        tensors[f"{original}.lora_A.weight"] = torch.ones(1, place.inputs)
        tensors[f"{original}.lora_B.weight"] = torch.randn(place.outputs, 1, generator=generator)
    save_file({f"diffusion_model.{key}": tensor for key, tensor in tensors.items()}, tmp_path / "a.safetensors")
    found = read_adapter(tmp_path / "a.safetensors", model)["transformer"].tensors
    ups = {key.removesuffix(".lora_B.weight"): up for key, up in tensors.items() if "lora_B" in key}
    checkpoint = {f"{original}.weight": up for original, up in ups.items()}
    if name != "z-image":
        checkpoint |= {each: torch.ones(1) for each in NORMS}
    if name == "flux":
        checkpoint |= {f"{original}.bias": up for original, up in ups.items()}
    converted = convert(checkpoint)
    assert {
        each for each in layers if not torch.equal(converted[f"{each}.weight"], found[f"{each}.lora_B.weight"])
    } == set()
    assert {each for each in converted if each not in transformer.state_dict()} == set()


def test_files_of_flux2_with_original_names_are_what_diffusers_makes_of_them(tmp_path):
    pipeline = tiny_flux2_klein()
    model = layers_of(pipeline)
    for prefix, kinds, flat in (
        ("diffusion_model.", ("lora_A", "lora_B"), False), ("lora_unet_", ("lora_down", "lora_up"), True),
    ):  # fmt: skip
        tensors = tensors_for(model, FLUX2, prefix, kinds, flat=flat)
        found = ours(tmp_path, model, tensors, "transformer")
        wanted = of_diffusers(Flux2KleinPipeline.lora_state_dict(dict(tensors)), "transformer")
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[layer], change, atol=1e-5) for layer, change in wanted.items())


def test_the_joined_gate_of_comfyuis_qwen_image_2_1_is_two_layers(tmp_path):
    class QwenImage21Transformer2DModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            gated = torch.nn.ModuleDict({"gate_layer": torch.nn.Linear(4, 6), "proj": torch.nn.Linear(4, 6)})
            self.transformer_blocks = torch.nn.ModuleList([torch.nn.ModuleDict({"img_mlp": gated})])

    model = ModelLayers({"transformer": QwenImage21Transformer2DModel()}, "transformer")
    name = "transformer_blocks.0.img_mlp.gate_up"
    tensors = tensors_for(model, [name], "diffusion_model.", ("lora_A", "lora_B"), flat=False)
    found = ours(tmp_path, model, tensors, "transformer")
    up, down = (tensors[f"diffusion_model.{name}.lora_{each}.weight"] for each in "BA")
    block = name.removesuffix("gate_up")
    assert torch.equal(torch.cat([found[f"{block}gate_layer"], found[f"{block}proj"]]), up @ down)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_joined_layer_beside_its_parts_is_a_repetition_or_refused(factor, tmp_path):
    """Files of Anime-Z have `qkv` beside `to_q`, `to_k` and `to_v`, and `out` beside `to_out`."""
    model = layers_of(tiny_z_image())
    names = ("layers.0.attention.qkv", "layers.0.attention.out")
    joined = tensors_for(model, names, "lora_unet_", ("lora.down", "lora.up"), flat=True)
    wanted = ours(tmp_path, model, joined, "transformer")
    qkv, out = (f"lora_unet_{name.replace('.', '_')}" for name in names)
    parts = {f"{qkv[:-3]}to_out_0{key.removeprefix(out)}": each.clone() for key, each in joined.items() if out in key}
    for number, each in enumerate("qkv"):
        name = f"{qkv[:-3]}to_{each}"
        parts[f"{name}.lora.down.weight"] = joined[f"{qkv}.lora.down.weight"].clone()
        parts[f"{name}.lora.up.weight"] = factor * joined[f"{qkv}.lora.up.weight"].chunk(3)[number]
        parts[f"{name}.alpha"] = torch.tensor(1.0)
    if factor == 1:
        found = ours(tmp_path, model, joined | parts, "transformer")
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[layer], change) for layer, change in wanted.items())
        assert "layers.0.attention.to_v" in found
    else:
        with pytest.raises(LoraRefused, match=r"attention\.to_.+ twice, in two ways; take one out"):
            ours(tmp_path, model, joined | parts, "transformer")


def test_a_lokr_of_a_joined_layer_beside_its_parts_says_what_to_do(tmp_path):
    model = layers_of(tiny_z_image())
    tensors: Tensors = {}
    for layer in ("qkv", "to_q"):
        place = model.find(f"layers.0.attention.{layer}")
        assert place is not None
        name = f"diffusion_model.layers.0.attention.{layer}"
        tensors[f"{name}.lokr_w1"], tensors[f"{name}.lokr_w2"] = (
            torch.ones(1, 1),
            torch.ones(place.outputs, place.inputs),
        )
    with pytest.raises(LoraRefused, match=r"attention\.to_q twice, which a LoKr must not; convert the file to LoRA"):
        ours(tmp_path, model, tensors, "transformer")


def test_a_block_that_the_model_does_not_have_is_named(tmp_path):
    model = layers_of(tiny_flux())
    tensors = tensors_for(model, FLUX, "lora_unet_", ("lora_down", "lora_up"), flat=True)
    more = {name.replace("blocks_0", "blocks_17"): each.clone() for name, each in tensors.items()}
    with pytest.raises(LoraRefused, match="no layer lora_unet_double_blocks_17_img_attn_proj"):
        ours(tmp_path, model, tensors | more, "transformer")


@pytest.mark.parametrize("build", [tiny_stable_diffusion, tiny_stable_diffusion_xl])
def test_every_layer_of_a_unet_has_the_name_that_its_authors_gave_it(build):
    """diffusers converts whole checkpoints from the original names: its table is the reference."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    unet = build().unet
    layers = {name for name, each in unet.named_modules() if isinstance(each, torch.nn.Linear | torch.nn.Conv2d)}
    originals = original_names.of("UNet2DConditionModel", layers)
    assert {name for original in originals.values() for name in original.layers} == layers
    checkpoint = {
        f"model.diffusion_model.{original}.{kind}": torch.tensor(float(number))
        for number, original in enumerate(originals)
        for kind in ("weight", "bias")
    }
    numbers = {original: float(number) for number, original in enumerate(originals)}
    converted = convert_ldm_unet_checkpoint(dict(checkpoint), dict(unet.config))
    found = {name.removesuffix(".weight"): float(each) for name, each in converted.items() if name.endswith("weight")}
    assert found == {value.layers[0]: numbers[original] for original, value in originals.items()}


def test_kohyas_names_of_sdxls_original_blocks_are_those_of_diffusers(tmp_path):
    pipeline = tiny_stable_diffusion_xl()
    model = layers_of(pipeline)
    layers = {name for name, each in pipeline.unet.named_modules() if isinstance(each, torch.nn.Linear)}
    originals = original_names.of("UNet2DConditionModel", layers)
    chosen = [name for name, value in originals.items() if value.layers[0].endswith(("attn1.to_q", "attn2.to_out.0"))]
    tensors = tensors_for(model, chosen, "lora_unet_", ("lora_down", "lora_up"), flat=True)
    found = ours(tmp_path, model, tensors, "unet")
    state, alphas = StableDiffusionXLPipeline.lora_state_dict(dict(tensors), unet_config=pipeline.unet.config)
    parsed = [each for name in state if ".down." in name and (each := parse(name))]
    wanted = {place.layers[0].name for each in parsed if (place := model.find(each.layer))}
    assert found.keys() == wanted
    assert len(alphas) == len(wanted)


def test_text_encoders_take_kohyas_and_comfyuis_names(tmp_path):
    model = layers_of(tiny_stable_diffusion_xl())
    kohya = "lora_te{}_text_model_encoder_layers_0_self_attn_q_proj"
    comfy = "text_encoders.clip_{}.transformer.text_model.encoder.layers.0.self_attn.q_proj"
    for first, second in ((kohya.format(1), kohya.format(2)), (comfy.format("l"), comfy.format("g"))):
        places = [model.find(name) for name in (first, second)]
        assert [place.layers[0].part for place in places if place] == ["text_encoder", "text_encoder_2"]
