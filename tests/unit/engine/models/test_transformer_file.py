"""A transformer in one file takes the place of the model's own; what is none is one sentence."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import model_choice, transformer_file
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from imageserver.settings import Settings
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import load, save_tiny_qwen_image, tiny_qwen_image


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
