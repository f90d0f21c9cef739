"""Models from the disk and the hubs: what loads, and one clear sentence for everything that does not."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import model_choice
from imageserver.engine.models.loading import LoadedModel
from imageserver.engine.models.weight_files import weights
from imageserver.engine.models.weight_files.weights import components_of, model_weights
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.fake_hub import FakeHub
from tests.support.tiny_models import load, save_tiny_qwen_image, silent

Said = list[tuple[str, str, float | None]]

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the layout of Qwen/Qwen-Image."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("models") / "Qwen-Image")


def weight_bytes(folder: Path, dtype: torch.dtype) -> dict[str, int]:
    return dict(model_weights(components_of(folder, ()), dtype, {}).components)


def with_model(model: str | Path, **changes: Any) -> Settings:
    return Settings(model=str(model), device="cpu", **changes)


def test_a_folder_with_the_true_layout_loads_and_its_facts_are_true(model_folder: Path) -> None:
    said: Said = []
    model = load(with_model(model_folder), lambda *words: said.append(words))
    assert type(model.pipeline).__name__ == "QwenImagePipeline"
    assert model.info.family == "qwen-image"
    assert model.info.device.dtype == "float32"
    assert model.info.device.gpu == "CPU"
    assert model.info.device.cuda_version == "N/A"
    modules = (model.pipeline.transformer, model.pipeline.text_encoder, model.pipeline.vae)
    assert model.info.parameters == sum(weight.numel() for module in modules for weight in module.parameters())
    assert sum(weight_bytes(model_folder, torch.float32).values()) >= model.info.parameters * 4
    assert [phase for phase, _, _ in said] == ["loading"]


@pytest.mark.parametrize("wanted", [True, False])
def test_warnings_that_quote_prompts_follow_the_setting(model_folder: Path, wanted: bool) -> None:
    before = diffusers.utils.logging.get_verbosity(), transformers.utils.logging.get_verbosity()
    try:
        load(with_model(model_folder, log_prompts=wanted), silent)
        for name in ("diffusers.pipelines.stable_diffusion", "transformers.tokenization_utils_base"):
            assert logging.getLogger(name).isEnabledFor(logging.WARNING) is wanted
            assert logging.getLogger(name).isEnabledFor(logging.ERROR)
    finally:
        diffusers.utils.logging.set_verbosity(before[0])
        transformers.utils.logging.set_verbosity(before[1])


def test_half_the_bytes_are_needed_in_bfloat16(model_folder: Path) -> None:
    whole = weight_bytes(model_folder, torch.float32)
    assert set(whole) == {"transformer", "text_encoder", "vae"}
    assert {name: size // 2 for name, size in whole.items()} == weight_bytes(model_folder, torch.bfloat16)


def test_weights_that_were_quantized_before_are_counted_as_they_are(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    shutil.copytree(model_folder, folder)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "x"}}))
    found = model_weights(components_of(folder, ()), torch.bfloat16, {})
    assert found.fixed == {"transformer"}
    assert found.components["transformer"] == (folder / WEIGHTS).stat().st_size
    assert found.largest_file == max(file.stat().st_size for file in folder.glob("*/*.safetensors"))


def test_what_lies_beside_the_weights_for_others_needs_no_memory(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    shutil.copytree(model_folder, folder)
    needed = weight_bytes(folder, torch.float32)
    weights = folder / WEIGHTS
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        shutil.copy(weights, weights.with_name(name))
    (folder / "vae_1_0").mkdir()
    shutil.copy(weights, folder / "vae_1_0")
    shutil.copy(weights, folder / "all-in-one.safetensors")
    assert weight_bytes(folder, torch.float32) == needed
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    shutil.copy(
        folder / "vae_1_0" / weights.name, weights.with_name("diffusion_pytorch_model-00002-of-00002.safetensors")
    )
    assert weight_bytes(folder, torch.float32) == needed | {"transformer": 2 * needed["transformer"]}


@pytest.mark.parametrize(
    ("name", "variant", "mixed"),
    [("qwen_image", "fp16", False), ("stable_diffusion_xl", "bf16", False), ("stable_diffusion_xl", "fp16", True)],
)
def test_folders_with_a_variant_alone_are_loaded(tmp_path: Path, name: str, variant: str, mixed: bool) -> None:
    pipeline = getattr(tiny_models, f"tiny_{name}")().to(torch.float16)
    pipeline.save_pretrained(tmp_path, variant=variant)
    if mixed:
        plain = tmp_path / "vae" / f"diffusion_pytorch_model.{variant}.safetensors"
        plain.rename(plain.with_name("diffusion_pytorch_model.safetensors"))
    model = load(with_model(tmp_path), silent)
    for part, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            loaded = getattr(model.pipeline, part).state_dict()
            assert all(torch.equal(loaded[key], weight.float()) for key, weight in component.state_dict().items())


def test_a_safety_checker_that_is_not_loaded_needs_no_memory(tmp_path: Path) -> None:
    tiny_models.tiny_stable_diffusion().save_pretrained(tmp_path)
    shutil.copytree(tmp_path / "text_encoder", tmp_path / "safety_checker")
    index = tmp_path / "model_index.json"
    parts = json.loads(index.read_text()) | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    index.write_text(json.dumps(parts))
    assert set(model_choice.find(with_model(tmp_path), silent).weights.components) == {"unet", "text_encoder", "vae"}


def test_another_revision_of_the_weights_has_another_fingerprint(model_folder: Path, tmp_path: Path) -> None:
    other = save_tiny_qwen_image(tmp_path / "other")
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("true", "false", 1))
    assert weights.fingerprint(other) != weights.fingerprint(model_folder)


def test_memory_that_cannot_hold_the_model_is_said_with_what_would(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    with pytest.raises(
        ModelUnavailable, match=r"needs about .* GiB .* choose a quantized or smaller model, or MODEL=demo"
    ):
        load(with_model(model_folder))


def test_a_model_whose_text_encoder_lies_elsewhere_says_how_to_name_it(tmp_path: Path) -> None:
    tiny_models.save_tiny_hidream(tmp_path / "model", tmp_path / "llama")

    def loaded(text_encoder_path: str) -> LoadedModel:
        settings = with_model(tmp_path / "model").model_copy(update={"text_encoder_path": text_encoder_path})
        return load(settings)

    with pytest.raises(ModelUnavailable, match=r"needs Llama-3\.1-8B-Instruct, .* set TEXT_ENCODER_PATH"):
        loaded("")
    with pytest.raises(ModelUnavailable, match="TEXT_ENCODER_PATH=/nowhere is neither a folder nor an id"):
        loaded("/nowhere")
    with pytest.raises(ModelUnavailable, match="has no safetensors weights"):
        loaded(str(tmp_path))
    model = loaded(str(tmp_path / "llama"))
    assert type(model.pipeline.text_encoder_4).__name__ == "LlamaForCausalLM"
    # Another one reads prompts otherwise, so this one's images do not count any more.
    (weights,) = (tmp_path / "llama").glob("*.safetensors")
    os.utime(weights, (1, 1))
    assert loaded(str(tmp_path / "llama")).info.revision != model.info.revision


def test_a_pipeline_that_nobody_serves_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(ModelUnavailable, match=r"NoSuchPipeline.*it knows QwenImagePipeline"):
        load(with_model(tmp_path))


@pytest.mark.parametrize("part", ["tokenizer", "vae", "scheduler"])
def test_a_part_that_is_missing_is_named(tmp_path: Path, part: str) -> None:
    # Without its files transformers makes an empty tokenizer, and no error would name what is missing.
    tiny_models.tiny_stable_diffusion().save_pretrained(tmp_path / "sd")
    shutil.rmtree(tmp_path / "sd" / part)
    with pytest.raises(ModelUnavailable, match=rf"^[^\n]* is incomplete: its folder has no {part}\.$"):
        load(with_model(tmp_path / "sd"))


def test_a_folder_that_is_no_model_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no readable model_index"):
        load(with_model(tmp_path))


@pytest.mark.fault(25)
def test_pickled_weights_are_refused_and_not_executed(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    save_tiny_qwen_image(folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    canary = tmp_path / "canary"
    payload = f"cos\nsystem\n(S'touch {canary}'\ntR."
    weights.rename(weights.with_suffix(".moved"))
    weights.with_name("diffusion_pytorch_model.bin").write_bytes(payload.encode())
    with pytest.raises(ModelUnavailable):
        load(with_model(folder))
    assert not canary.exists()


def test_a_device_that_is_not_there_is_said_so(model_folder: Path) -> None:
    with pytest.raises(devices.DeviceUnavailable, match="DEVICE=cuda:7"):
        load(Settings(model=str(model_folder), device="cuda:7"), silent)


def test_what_belongs_to_a_model_comes_from_its_own_hub(tmp_path: Path) -> None:
    tiny_models.save_tiny_hidream(tmp_path / "model", tmp_path / "llama")
    names = tmp_path / "names.toml"
    names.write_text(f"[mine]\nsource = '{tmp_path / 'model'}'\nhub = 'huggingface'\n")
    with (hub := FakeHub(tmp_path / "llama", "owner/llama")).open():
        settings = with_model(
            "mine", models_file=names, models_dir=tmp_path / "models", hf_endpoint=hub.url, model_source="modelscope"
        ).model_copy(update={"text_encoder_path": "owner/llama"})
        found = model_choice.find(settings, silent)
    assert found.encoder_folder is not None
    assert any(found.encoder_folder.glob("*.safetensors"))
