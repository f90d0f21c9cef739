"""Models from the disk and the hubs: what loads, and one clear sentence for everything that does not."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine import downloads
from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable, locate
from imageserver.engine.models import model_choice, weights
from imageserver.engine.models.loading import LoadedModel
from imageserver.engine.models.model_choice import choose_model
from imageserver.engine.models.weights import weight_bytes
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


def test_half_the_bytes_are_needed_in_bfloat16(model_folder: Path) -> None:
    whole = weight_bytes(model_folder, torch.float32)
    assert set(whole) == {"transformer", "text_encoder", "vae"}
    assert {name: size // 2 for name, size in whole.items()} == weight_bytes(model_folder, torch.bfloat16)


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


def test_a_safety_checker_that_is_not_loaded_needs_no_memory(tmp_path: Path) -> None:
    tiny_models.tiny_stable_diffusion().save_pretrained(tmp_path)
    shutil.copytree(tmp_path / "text_encoder", tmp_path / "safety_checker")
    index = tmp_path / "model_index.json"
    parts = json.loads(index.read_text()) | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    index.write_text(json.dumps(parts))
    assert set(model_choice.find(with_model(tmp_path), silent).weights) == {"unet", "text_encoder", "vae"}


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


@pytest.mark.parametrize("model", ["no/such/folder/here", "/no/such/folder", "./nothing", "plainword"])
def test_a_name_that_is_neither_folder_nor_id_is_said_so(model: str) -> None:
    with pytest.raises(ModelUnavailable, match="neither a folder nor an id"):
        locate(model, with_model(model), silent)


def test_a_device_that_is_not_there_is_said_so(model_folder: Path) -> None:
    with pytest.raises(devices.DeviceUnavailable, match="DEVICE=cuda:7"):
        load(Settings(model=str(model_folder), device="cuda:7"), silent)


def test_auto_takes_the_demo_without_a_large_card_and_says_why() -> None:
    name, reason = choose_model("auto", torch.device("cpu"))
    assert name == "demo"
    assert "no CUDA device" in reason
    assert "MODEL=Qwen/Qwen-Image" in reason


def test_auto_takes_qwen_image_where_the_card_has_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 80 * 1024**3)
    monkeypatch.setattr(devices, "gpu_name", lambda device: "Big Card")
    name, reason = choose_model("auto", torch.device("cuda", 0))
    assert name == "Qwen/Qwen-Image"
    assert "Big Card has 80 GiB free" in reason


@pytest.fixture
def fake_hubs(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> dict[str, Any]:
    """Stand-ins for both hubs' snapshot_download, which record what they were asked."""
    # Set by whoever has heard of the growth.
    asked: dict[str, Any] = {"growth": threading.Event()}

    def modelscope_download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        if options["local_files_only"]:
            raise ValueError("CacheNotFound")
        for metered in options["progress_callbacks"]:
            meter = metered("weights.safetensors", 1000)
            meter.update(400)
            meter.update(600)
        return str(model_folder)

    def huggingface_download(model: str, **options: Any) -> Any:
        asked.update(options, model=model)
        if options.get("local_files_only"):
            raise ValueError("LocalEntryNotFoundError")
        if options.get("dry_run"):
            return [
                SimpleNamespace(file_size=1000, will_download=True),
                SimpleNamespace(file_size=9, will_download=False),
            ]
        blobs = Path(options["cache_dir"]) / "models--Qwen--Qwen-Image" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "weights").write_bytes(bytes(1000))
        assert asked["growth"].wait(30)
        return str(model_folder)

    import huggingface_hub
    import modelscope

    monkeypatch.setattr(downloads, "GROWTH_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(modelscope, "snapshot_download", modelscope_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", huggingface_download)
    return asked


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_an_id_is_downloaded_with_progress_and_without_pickles(
    fake_hubs: dict[str, Any], source: Any, model_folder: Path, tmp_path: Path
) -> None:
    said: Said = []
    settings = with_model("Qwen/Qwen-Image", model_source=source, models_dir=tmp_path)

    def report(*words: Any) -> None:
        said.append(words)
        if words[2]:
            fake_hubs["growth"].set()

    assert locate("Qwen/Qwen-Image", settings, report) == model_folder
    assert fake_hubs["model"] == "Qwen/Qwen-Image"
    assert not any(pattern.endswith((".bin", ".pt", ".ckpt")) for pattern in fake_hubs["allow_patterns"])
    assert said[0][0] == "downloading"
    assert said[-1][2] == 1.0


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_offline_a_model_that_is_not_there_is_one_clear_sentence(fake_hubs: dict[str, Any], source: Any) -> None:
    with pytest.raises(ModelUnavailable, match=r"OFFLINE=1 and Qwen/Qwen-Image is not in .*MODEL=demo"):
        locate("Qwen/Qwen-Image", with_model("Qwen/Qwen-Image", offline=True, model_source=source), silent)
    assert fake_hubs["local_files_only"] is True


def test_a_download_that_fails_names_the_hub_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import modelscope

    tried: list[str] = []

    def refuse(model: str, **options: Any) -> str:
        tried.append(model)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(modelscope, "snapshot_download", refuse)
    monkeypatch.setattr(downloads, "RETRY_SECONDS", (0.0, 0.0))
    said: Said = []
    with pytest.raises(ModelUnavailable, match=r"ModelScope .ConnectionError: no route to host."):
        locate("Qwen/Qwen-Image", with_model("Qwen/Qwen-Image"), lambda *words: said.append(words))
    assert len(tried) == 3
    assert any(
        "ModelScope cannot be reached" in sentence and "tried again in 0 s" in sentence for _, sentence, _ in said
    )


@pytest.mark.parametrize("error", [ValueError("no such model"), OSError(28, "No space left on device")])
def test_what_is_no_fault_of_the_network_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    import modelscope

    tried: list[str] = []

    def refuse(model: str, **options: Any) -> str:
        tried.append(model)
        raise error

    monkeypatch.setattr(modelscope, "snapshot_download", refuse)
    monkeypatch.setattr(downloads, "RETRY_SECONDS", (0.0, 0.0))
    with pytest.raises(ModelUnavailable):
        locate("Qwen/Qwen-Image", with_model("Qwen/Qwen-Image"), silent)
    assert len(tried) == 1


@pytest.fixture
def hub(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that has the tiny model as owner/tiny."""
    monkeypatch.setattr(downloads, "RETRY_SECONDS", (0.0, 0.0))
    # What has come of a file is written piece by piece; the tiny model's files are smaller than one.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    fake = FakeHub(model_folder, "owner/tiny")
    with fake.open():
        yield fake


def fetched(hub: FakeHub, folder: Path, said: Said | None = None, **asked: Any) -> Path:
    settings = with_model("owner/tiny", model_source="huggingface", models_dir=folder, hf_endpoint=hub.url)
    return locate("owner/tiny", settings, lambda *words: said.append(words) if said is not None else None, **asked)


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub: FakeHub, model_folder: Path, tmp_path: Path) -> None:
    hub.cut.add(WEIGHTS)
    folder = fetched(hub, tmp_path)
    size = (model_folder / WEIGHTS).stat().st_size
    first, second = hub.ranges[WEIGHTS]
    assert first == ""
    assert size // 2 - 1024 <= int(second.removeprefix("bytes=").removesuffix("-")) <= size // 2
    assert (folder / WEIGHTS).read_bytes() == (model_folder / WEIGHTS).read_bytes()


def test_a_hub_that_is_unwell_is_asked_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.unwell = 1
    said: Said = []
    assert (fetched(hub, tmp_path, said) / "model_index.json").is_file()
    assert any("Hugging Face cannot be reached" in sentence for _, sentence, _ in said)


def test_what_was_fetched_needs_no_hub_any_more(hub: FakeHub, tmp_path: Path) -> None:
    folder = fetched(hub, tmp_path)
    settings = with_model("owner/tiny", model_source="huggingface", models_dir=tmp_path, offline=True)
    assert locate("owner/tiny", settings, silent) == folder


def test_the_revision_that_was_asked_for_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    fetched(hub, tmp_path, revision="v1.0")
    assert set(hub.revisions) == {"v1.0"}


def test_of_what_lies_beside_the_weights_for_others_nothing_is_fetched(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "hub")
    for name in ("all-in-one.safetensors", WEIGHTS.replace(".", ".fp16."), WEIGHTS.replace(".", ".non_ema.")):
        shutil.copy(model_folder / WEIGHTS, tmp_path / "hub" / name)
    with (hub := FakeHub(tmp_path / "hub", "owner/tiny")).open():
        pipeline = fetched(hub, tmp_path / "models", wanted=downloads.PIPELINE_FILES)
        component = fetched(hub, tmp_path / "parts")
    wanted = {str(file.relative_to(model_folder)) for file in model_folder.rglob("*.safetensors")}
    assert {str(file.relative_to(pipeline)) for file in pipeline.rglob("*.safetensors")} == wanted
    # A component alone has its weights at the top.
    assert (component / "all-in-one.safetensors").is_file()


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


def test_modelscopes_library_reads_the_patterns_as_they_are_meant() -> None:
    # It takes `.*` for a regular expression, so that `*.*.safetensors` would leave out all weights.
    from modelscope_hub._download import _matches_patterns as matches

    for name in (WEIGHTS, "text_encoder/model-00001-of-00004.safetensors"):
        assert matches(name, downloads.PIPELINE_FILES)
        assert not matches(name, downloads.VARIANTS)
    assert not matches("flux1-dev.safetensors", downloads.PIPELINE_FILES)
    for name in ("unet/model.fp16.safetensors", "unet/model.fp16-00001-of-00002.safetensors"):
        assert matches(name, downloads.VARIANTS)


def test_a_model_that_the_hub_does_not_have_is_said_at_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.model = "owner/other"
    said: Said = []
    with pytest.raises(ModelUnavailable, match="owner/tiny could not be fetched from Hugging Face"):
        fetched(hub, tmp_path, said)
    assert not any("tried again" in sentence for _, sentence, _ in said)
