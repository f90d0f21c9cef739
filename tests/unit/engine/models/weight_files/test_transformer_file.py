"""A transformer in one file takes the place of the model's own; what is none is one sentence."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import model_choice
from imageserver.engine.models.weight_files import transformer_file
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.errors import InvalidParameter
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from imageserver.settings import Settings
from tests.support.tiny_checkpoints import stable_diffusion_checkpoint
from tests.support.tiny_loras import save_lokr, save_lora
from tests.support.tiny_models import load, save_tiny_qwen_image, tiny_qwen_image, tiny_stable_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen_image(tmp_path_factory.mktemp("model"))


def with_file(folder: Path, file: Path) -> Settings:
    return Settings(_env_file=None, model=str(folder), device="cpu", transformer_file=file)


def silent(phase: str, sentence: str, fraction: float | None) -> None:
    """Hear nothing."""


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    model = load(Settings(_env_file=None, model=str(folder), device="cpu"), silent)
    return {name: weight.detach().clone() for name, weight in model.pipeline.transformer.state_dict().items()}


def write_gguf(weights: dict[str, torch.Tensor], file: Path, kind: gguf.GGMLQuantizationType) -> None:
    writer = gguf.GGUFWriter(file, "qwen_image")
    for name, weight in weights.items():
        array = weight.numpy()
        if array.ndim == 2 and array.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def generated(model: Any) -> np.ndarray:
    image = model.pipeline(
        prompt="a fox", width=64, height=64, num_inference_steps=2, generator=torch.Generator().manual_seed(0)
    ).images[0]
    return np.asarray(image).astype(int)


def test_a_gguf_file_is_generated_with_and_differs_slightly(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model-q8_0.gguf"
    write_gguf(weights_of(folder), file, gguf.GGMLQuantizationType.Q8_0)
    settings = with_file(folder, file)
    model = load(settings, silent)
    kinds = {type(module).__name__ for module in model.pipeline.transformer.modules()}
    assert "GGUFLinear" in kinds
    whole = generated(load(Settings(_env_file=None, model=str(folder), device="cpu"), silent))
    difference = np.abs(generated(model) - whole).mean()
    assert 0 < difference < 8
    assert "+" in model.info.revision


def test_a_lora_beside_a_gguf_file_changes_what_is_generated_as_beside_whole_weights(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model-q8_0.gguf"
    write_gguf(weights_of(folder), file, gguf.GGMLQuantizationType.Q8_0)
    loras = LoraFolder(save_lora(tmp_path / "loras", "red", tiny_qwen_image()).parent)
    red = Lora(name="red", digest=loras.find("red").digest)
    images = []
    for settings in (with_file(folder, file), Settings(_env_file=None, model=str(folder), device="cpu")):
        model = load(settings, silent)
        adapters = LoraAdapters(model.pipeline, "transformer", loras)
        before = generated(model)
        adapters.use((red,))
        images.append(generated(model))
        assert (images[-1] != before).any()
        adapters.unload("red")
        assert (generated(model) == before).all()
    assert np.abs(images[0] - images[1]).mean() < 1


def test_a_lokr_beside_a_gguf_file_is_refused_before_an_image_fails_of_it(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model-q8_0.gguf"
    write_gguf(weights_of(folder), file, gguf.GGMLQuantizationType.Q8_0)
    loras = LoraFolder(save_lokr(tmp_path / "loras", "LoKr", tiny_qwen_image().transformer).parent)
    adapters = LoraAdapters(load(with_file(folder, file), silent).pipeline, "transformer", loras)
    sentence = r"it is a LoKr, and the weights of the layer .*to_q are packed .*a TRANSFORMER_FILE that is not GGUF, or"
    with pytest.raises(InvalidParameter, match=sentence):
        adapters.use((Lora(name="LoKr", digest=loras.find("LoKr").digest),))
    assert adapters.names == ()


def test_a_file_takes_the_memory_of_what_it_contains_under_every_plan(folder: Path, tmp_path: Path) -> None:
    small, whole = tmp_path / "model-q8_0.gguf", tmp_path / "whole.safetensors"
    write_gguf(weights_of(folder), small, gguf.GGMLQuantizationType.Q8_0)
    save_file({name: weight.half() for name, weight in weights_of(folder).items()}, whole)
    own = model_choice.find(Settings(_env_file=None, model=str(folder), device="cpu"), silent).weights
    needs = []
    for file in (small, whole):
        found = model_choice.find(with_file(folder, file), silent).weights
        assert found.fixed == {"transformer"}
        needs.append(found.components["transformer"])
    # What is not GGUF is loaded in the model's own number format.
    assert needs == [small.stat().st_size, own.components["transformer"]]


def test_a_safetensors_file_is_the_transformer_to_the_bit(folder: Path, tmp_path: Path) -> None:
    weights = weights_of(folder)
    other = {name: weight * 1.5 for name, weight in weights.items()}
    save_file(other, tmp_path / "other.safetensors")
    model = load(with_file(folder, tmp_path / "other.safetensors"), silent)
    for name, weight in model.pipeline.transformer.state_dict().items():
        assert torch.equal(weight, other[name])


Tensors = dict[str, torch.Tensor]


def prefixed(prefix: str, weights: Tensors) -> Tensors:
    return {prefix + name: weight for name, weight in weights.items()}


BESIDE = {
    "first_stage_model.decoder.conv_in.weight": torch.ones(3),
    "text_encoders.qwen25_7b.model.norm.weight": torch.ones(3),
    "model_ema.decay": torch.ones(()),
}


@pytest.mark.parametrize("beside", [{}, BESIDE], ids=["alone", "with a VAE and a text encoder"])
@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "transformer."])
def test_prefixes_and_other_parts_in_the_file_change_nothing(folder, tmp_path, prefix: str, beside: Tensors) -> None:
    weights = weights_of(folder)
    file = tmp_path / "whole.SafeTensors"
    save_file(prefixed(prefix, {name: weight * 1.5 for name, weight in weights.items()}) | beside, file)
    settings = with_file(folder, file)
    model = load(settings, silent)
    for name, weight in model.pipeline.transformer.state_dict().items():
        assert torch.equal(weight, weights[name] * 1.5)
    own = model_choice.find(Settings(_env_file=None, model=str(folder), device="cpu"), silent).weights
    assert model_choice.find(settings, silent).weights.components["transformer"] == own.components["transformer"]


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_a_unet_may_have_the_names_of_its_authors(tmp_path: Path, prefix: str) -> None:
    pipeline = tiny_stable_diffusion()
    pipeline.save_pretrained(tmp_path / "base")
    whole = stable_diffusion_checkpoint(pipeline)
    unet = {name.removeprefix("model."): weight for name, weight in whole.items() if name.startswith("model.diff")}
    changed = {prefix + name.removeprefix("diffusion_model."): weight * 1.5 for name, weight in unet.items()}
    save_file(changed, tmp_path / "unet.safetensors")
    loaded = load(with_file(tmp_path / "base", tmp_path / "unet.safetensors"), silent).pipeline.unet
    assert all(torch.equal(loaded.state_dict()[name], each * 1.5) for name, each in pipeline.unet.state_dict().items())


def test_a_gguf_file_may_have_a_prefix_too(folder: Path, tmp_path: Path) -> None:
    for prefix in ("", "model.diffusion_model."):
        file = tmp_path / f"{len(prefix)}.GGUF"
        write_gguf(prefixed(prefix, weights_of(folder)), file, gguf.GGMLQuantizationType.Q8_0)
    images = [generated(load(with_file(folder, tmp_path / name), silent)) for name in ("0.GGUF", "22.GGUF")]
    assert (images[0] == images[1]).all()


def scaled(weights: Tensors, ending: str, *, per_output: bool = False) -> tuple[Tensors, Tensors]:
    """Return the tensors of an fp8 file with scales, and the weights that they stand for."""
    tensors, wanted = dict(weights), dict(weights)
    for name, weight in weights.items():
        if weight.ndim == 2 and name.endswith(".weight"):
            scale = (weight.abs().amax(1, keepdim=True) if per_output else weight.abs().max()) / 448
            tensors[name] = (weight / scale).to(torch.float8_e4m3fn)
            tensors[name.removesuffix(".weight") + ending] = scale
            wanted[name] = tensors[name].float() * scale
    return tensors, wanted


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale"])
def test_the_scales_of_fp8_weights_are_used(folder, tmp_path, ending: str, per_output: bool) -> None:
    tensors, wanted = scaled(weights_of(folder), ending, per_output=per_output)
    tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    tensors["img_in.input_scale"] = torch.tensor(3.0)
    save_file(prefixed("diffusion_model.", tensors), tmp_path / "fp8.safetensors")
    tensors |= {"proj_out.scale_input": torch.tensor(3.0)}
    save_file(tensors, tmp_path / "bare.safetensors")
    for name in ("fp8", "bare"):
        model = load(with_file(folder, tmp_path / f"{name}.safetensors"), silent)
        for key, weight in model.pipeline.transformer.state_dict().items():
            assert torch.equal(weight, wanted[key])


@pytest.mark.fault(48)
def test_fp8_weights_without_their_scales_are_refused(folder: Path, tmp_path: Path) -> None:
    tensors, _ = scaled(weights_of(folder), ".scale_weight")
    marked = weights_of(folder) | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    marked["img_in.weight"] = marked["img_in.weight"].to(torch.float8_e4m3fn)
    left_over = {name: tensor for name, tensor in tensors.items() if name != "img_in.weight"}
    one_less = {name: tensor for name, tensor in tensors.items() if name != "img_in.scale_weight"}
    for content, sentence in (
        (one_less, "has no scale for img_in.weight"),
        (marked, "has no scale for img_in.weight"),
        (left_over, "has a scale for img_in.weight, which is not there"),
    ):
        save_file(content, tmp_path / "fp8.safetensors")
        with pytest.raises(ModelUnavailable, match=f"TRANSFORMER_FILE=fp8.safetensors {sentence}"):
            load(with_file(folder, tmp_path / "fp8.safetensors"), silent)


FOREIGN: dict[str, tuple[Tensors, str]] = {
    "a LoRA": ({"transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 2)}, "is a LoRA: put it into LORA_DIR"),
    "4 bits": ({"a.weight": torch.ones(1), "a.weight.absmax": torch.ones(1)}, "is quantized by bitsandbytes"),
    "SVDQuant": ({"blocks.0.wscales": torch.ones(1)}, "is quantized by SVDQuant"),
    "a ControlNet": ({"controlnet_blocks.0.weight": torch.ones(1)}, "is a ControlNet"),
    "a VAE": ({"first_stage_model.decoder.conv_in.weight": torch.ones(1)}, "contains no transformer, only other parts"),
    "nothing": ({}, "contains no tensors"),
    "FLUX": (
        {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.ones(3, 3)},
        r"is another model's \(its names are those of FLUX\): it lacks weights that this one needs",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_file_is_instead_is_said(folder: Path, tmp_path: Path, name: str) -> None:
    tensors, sentence = FOREIGN[name]
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelUnavailable, match=f"^TRANSFORMER_FILE=a.safetensors {sentence}"):
        load(with_file(folder, tmp_path / "a.safetensors"), silent)


def test_what_is_too_much_or_of_another_size_is_named(folder: Path, tmp_path: Path) -> None:
    weights = weights_of(folder)
    first = min(weights)
    for changed, sentence in (
        (weights | {"some.other.weight": torch.ones(3)}, "it has some.other.weight, which this one has not"),
        (prefixed("transformer.", weights) | {"other.weight": torch.ones(3)}, "contains other.weight, which belongs"),
        ({name: weight for name, weight in weights.items() if name != first}, f"needs \\({first}\\)"),
        (weights | {"proj_out.weight": weights["proj_out.weight"][:-1].clone()}, "proj_out"),
    ):
        save_file(changed, tmp_path / "a.safetensors")
        with pytest.raises(ModelUnavailable, match=sentence):
            load(with_file(folder, tmp_path / "a.safetensors"), silent)


@pytest.mark.fault(25)
def test_a_page_and_half_a_download_under_its_name_are_called_so(folder: Path, tmp_path: Path) -> None:
    save_file(weights_of(folder), tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for content, sentence in ((b"<!doctype html>", "is a web page"), (whole[:-8], "has .* bytes")):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ModelUnavailable, match=f"^TRANSFORMER_FILE=a.safetensors {sentence}"):
            load(with_file(folder, tmp_path / "a.safetensors"), silent)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.ckpt", b"x", "neither .gguf nor .safetensors"),
        ("model.bin", b"x", "neither .gguf nor .safetensors"),
        ("missing.gguf", None, "does not exist"),
        ("model.gguf", b"PK\x03\x04", "is not a GGUF file"),
    ],
)
def test_what_is_no_such_file_is_said(folder, tmp_path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=sentence):
        load(with_file(folder, tmp_path / name), silent)


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF" + b"\xff" * 64])
def test_a_broken_gguf_file_is_said(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ModelUnavailable):
        load(with_file(folder, tmp_path / "broken.gguf"), silent)


@pytest.mark.fault(25)
def test_a_broken_safetensors_file_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x10" + b"\x00" * 7 + b"not json at all!")
    with pytest.raises(ModelUnavailable):
        load(with_file(folder, tmp_path / "broken.safetensors"), silent)


def test_another_models_file_is_said(folder: Path, tmp_path: Path) -> None:
    weights = weights_of(folder)
    some = {name: weights[name] for name in list(weights)[:5]}
    save_file(some, tmp_path / "other.safetensors")
    write_gguf(some, tmp_path / "other.gguf", gguf.GGMLQuantizationType.Q8_0)
    for file in ("other.safetensors", "other.gguf"):
        with pytest.raises(ModelUnavailable, match=f"^TRANSFORMER_FILE={file} is another model's: it lacks weights"):
            load(with_file(folder, tmp_path / file), silent)


def test_another_file_of_the_same_name_is_another_revision(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    first = transformer_file.fingerprint(with_file(folder, file))
    file.write_bytes(b"GGUF2")
    assert transformer_file.fingerprint(with_file(folder, file)) != first
    assert transformer_file.fingerprint(Settings(_env_file=None)) == ""
