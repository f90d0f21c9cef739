"""Models from both hubs, by their own libraries: what is fetched, what is asked, and one sentence for what fails."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imageserver.engine.downloads import ModelUnavailable, disk_space, hubs, locate, network_failures, progress
from imageserver.engine.models import model_choice
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.fake_hub import FakeHub
from tests.support.tiny_models import load, save_tiny_qwen_image, silent

Said = list[tuple[str, str, float | None]]
Open = Callable[[Path], AbstractContextManager[FakeHub]]

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
BOTH = pytest.mark.parametrize("source", ["modelscope", "huggingface"])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the layout of Qwen/Qwen-Image."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("models") / "Qwen-Image")


@pytest.fixture
def open_hub(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a hub that has a folder as owner/tiny."""
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", (0.0, 0.0))
    # The library tries a listing five times by itself.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    # What has come of a file is written piece by piece; the tiny model's files are smaller than one.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)

    @contextlib.contextmanager
    def opened(folder: Path) -> Iterator[FakeHub]:
        hub = FakeHub(folder, "owner/tiny")
        with hub.open() as url:
            monkeypatch.setenv("MODELSCOPE_ENDPOINT", url)
            # The library reads the address once.
            monkeypatch.setattr("modelscope_hub.config._default_config", None)
            yield hub

    return opened


@pytest.fixture
def hub(open_hub: Open, model_folder: Path) -> Iterator[FakeHub]:
    with open_hub(model_folder) as hub:
        yield hub


def settings_for(hub: FakeHub, models: Path, **changes: Any) -> Settings:
    return Settings(
        _env_file=None, model="owner/tiny", device="cpu", models_dir=models, hf_endpoint=hub.url,
        **{"model_source": "huggingface"} | changes,
    )  # fmt: skip


def fetched(hub: FakeHub, models: Path, said: Said | None = None, **changes: Any) -> Path:
    settings = settings_for(hub, models, **changes)
    return locate("owner/tiny", settings, lambda *words: said.append(words) if said is not None else None)


def weights_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}


def has_free(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Give the disk that many free bytes, for our check alone."""
    disk = SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=size))
    monkeypatch.setattr(disk_space, "shutil", disk)


@pytest.mark.parametrize("model", ["no/such/folder/here", "/no/such/folder", "./nothing", "plainword"])
def test_a_name_that_is_neither_folder_nor_id_is_said_so(model: str) -> None:
    with pytest.raises(ModelUnavailable, match="neither a folder nor an id"):
        locate(model, Settings(_env_file=None, model=model), silent)


@BOTH
def test_a_model_is_fetched_with_its_size_first_and_then_its_progress(
    hub: FakeHub, model_folder: Path, tmp_path: Path, source: str
) -> None:
    said: Said = []
    folder = fetched(hub, tmp_path, said, model_source=source)
    assert weights_in(folder) == weights_in(model_folder)
    assert (folder / WEIGHTS).read_bytes() == (model_folder / WEIGHTS).read_bytes()
    phase, sentence, fraction = said[0]
    assert (phase, fraction) == ("downloading", None)
    assert "owner/tiny: 0.00 GB are being fetched from" in sentence
    fractions = [fraction for _, _, fraction in said[1:] if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@BOTH
def test_a_second_start_asks_no_hub(hub: FakeHub, tmp_path: Path, source: str) -> None:
    first = model_choice.find(settings_for(hub, tmp_path, model_source=source), silent)
    asked = hub.requests
    assert asked
    second = model_choice.find(settings_for(hub, tmp_path, model_source=source), silent)
    assert hub.requests == asked
    assert second.folder == first.folder


@BOTH
def test_a_file_that_is_lost_is_fetched_again_and_no_other(
    hub: FakeHub, model_folder: Path, tmp_path: Path, source: str
) -> None:
    folder = fetched(hub, tmp_path, model_source=source)
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        ModelUnavailable, match=rf"OFFLINE=1 and 1 files of owner/tiny are not in .*, such as {WEIGHTS}"
    ):
        fetched(hub, tmp_path, model_source=source, offline=True)
    said: Said = []
    assert fetched(hub, tmp_path, said, model_source=source) == folder
    assert (folder / WEIGHTS).stat().st_size == (model_folder / WEIGHTS).stat().st_size
    assert len([sentence for _, sentence, _ in said if "are being fetched" in sentence]) == 1


@BOTH
def test_what_was_fetched_needs_no_hub_any_more(hub: FakeHub, tmp_path: Path, source: str) -> None:
    folder = fetched(hub, tmp_path, model_source=source)
    asked = hub.requests
    assert fetched(hub, tmp_path, model_source=source, offline=True) == folder
    shutil.rmtree(tmp_path / "listings")  # as another version or program has left it
    assert fetched(hub, tmp_path, model_source=source, offline=True) == folder
    assert hub.requests == asked


@BOTH
def test_offline_a_model_that_is_not_there_is_one_clear_sentence(hub: FakeHub, tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"OFFLINE=1 and owner/tiny is not in .*MODEL=demo"):
        fetched(hub, tmp_path, model_source=source, offline=True)
    assert hub.requests == 0


@BOTH
def test_of_two_formats_the_smaller_is_fetched_and_generated_from(open_hub: Open, tmp_path: Path, source: str) -> None:
    published = tiny_models.tiny_stable_diffusion_xl()
    published.save_pretrained(tmp_path / "hub")
    published.to(torch.float16).save_pretrained(tmp_path / "hub", variant="fp16")
    for unused in ("sd_xl.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors"):
        (tmp_path / "hub" / unused).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "hub" / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "hub" / unused)
    with open_hub(tmp_path / "hub") as hub:
        settings = settings_for(hub, tmp_path / "models", model_source=source, dtype="float16")
        folder = model_choice.find(settings, silent).folder
        fetched = weights_in(folder)
        model = load(settings)
        whole = model_choice.find(settings.model_copy(update={"dtype": "float32"}), silent).folder
    assert fetched == {name for name in weights_in(tmp_path / "hub") if ".fp16." in name}
    wanted, loaded = published.unet.state_dict(), model.pipeline.unet.state_dict()
    assert all(wanted[name].equal(loaded[name]) for name in wanted)
    # Another number format needs the other files.
    assert whole == folder
    assert "unet/diffusion_pytorch_model.safetensors" in weights_in(folder)
    assert not {"sd_xl.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors"} & weights_in(folder)


def test_a_transformer_that_a_file_replaces_is_not_fetched(hub: FakeHub, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_file({"proj_out.weight": torch.ones(1)}, file)
    folder = model_choice.find(settings_for(hub, tmp_path, transformer_file=file), silent).folder
    assert WEIGHTS not in weights_in(folder)
    assert (folder / "transformer" / "config.json").is_file()


def test_a_model_that_is_not_served_is_refused_before_its_weights_are_fetched(open_hub: Open, tmp_path: Path) -> None:
    save_tiny_qwen_image(tmp_path / "hub")
    index = tmp_path / "hub" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "NoSuchPipeline"}))
    with open_hub(tmp_path / "hub") as hub, pytest.raises(ModelUnavailable, match="NoSuchPipeline"):
        model_choice.find(settings_for(hub, tmp_path / "models"), silent)
    assert WEIGHTS not in hub.ranges


def test_a_download_that_the_disk_cannot_hold_does_not_begin(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(file.stat().st_size for file in hub.folder.rglob("*") if file.is_file())
    has_free(monkeypatch, size)
    with pytest.raises(ModelUnavailable, match=r"owner/tiny needs .* GB for its download .* GB free: set MODELS_DIR"):
        fetched(hub, tmp_path)
    assert WEIGHTS not in hub.ranges
    has_free(monkeypatch, 1.2 * size)
    assert fetched(hub, tmp_path).is_dir()


@BOTH
def test_a_download_that_was_broken_off_needs_only_the_room_for_its_rest(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    has_free(monkeypatch, 1000)
    with pytest.raises(ModelUnavailable, match="GB free"):
        fetched(hub, tmp_path, model_source=source)
    client = hubs.open_hub(source, settings_for(hub, tmp_path))
    folder = client.storage("owner/tiny")[0] / "blobs"
    folder.mkdir(exist_ok=True)
    size = sum(file.stat().st_size for file in hub.folder.rglob("*") if file.is_file())
    (folder / "0123.incomplete").write_bytes(bytes(size - 500))
    assert fetched(hub, tmp_path, model_source=source).is_dir()


def test_progress_counts_what_arrives_while_it_arrives(tmp_path: Path) -> None:
    said: Said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "GROWTH_INTERVAL_SECONDS", 0.005)
        meter = progress.ProgressMeter("owner/tiny", 1000, lambda *words: said.append(words))
        with progress.growth_of(tmp_path, meter):
            (tmp_path / "part").write_bytes(bytes(400))
            while not said:
                pass
            (tmp_path / "rest").write_bytes(bytes(600))
    assert next(fraction for _, _, fraction in said) in (0.4, 1.0)
    assert said[-1][2] == 1.0


def test_progress_of_a_slow_download_is_reported_also_within_a_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    said: Said = []
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    meter = progress.ProgressMeter("owner/large", 10**12, lambda *words: said.append(words))
    for _ in range(120):
        now[0] += 1
        meter.add(10**6)
    assert 4 <= len(said) <= 6
    for _ in range(120):
        now[0] += 1
        meter.add(0)
    assert len(said) <= 6, "nothing has come"


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub: FakeHub, model_folder: Path, tmp_path: Path) -> None:
    hub.cut.add(WEIGHTS)
    folder = fetched(hub, tmp_path)
    size = (model_folder / WEIGHTS).stat().st_size
    first, second = hub.ranges[WEIGHTS]
    assert first == ""
    assert size // 2 - 1024 <= int(second.removeprefix("bytes=").removesuffix("-")) <= size // 2
    assert (folder / WEIGHTS).read_bytes() == (model_folder / WEIGHTS).read_bytes()


def test_a_hub_that_is_unwell_is_asked_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.unwell = 7
    said: Said = []
    assert (fetched(hub, tmp_path, said) / "model_index.json").is_file()
    assert any("Hugging Face cannot be reached" in sentence for _, sentence, _ in said)


def test_an_older_download_serves_while_the_hub_is_away(hub: FakeHub, tmp_path: Path) -> None:
    folder = fetched(hub, tmp_path)
    shutil.rmtree(tmp_path / "listings")
    hub.unwell = 1000
    said: Said = []
    assert fetched(hub, tmp_path, said) == folder
    assert said[-1][1] == "owner/tiny: the files on the disk are used."


@pytest.mark.parametrize(("error", "times"), [
    (ConnectionError("no route to host"), 3), (ValueError("no such model"), 1), (OSError(28, "No space left"), 1),
])  # fmt: skip
def test_only_a_fault_of_the_network_is_tried_again_and_the_sentence_names_hub_and_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, times: int
) -> None:
    tried: list[str] = []

    def refuse(self: hubs.ModelScope, model: str, revision: str | None) -> dict[str, int]:
        tried.append(model)
        raise error

    monkeypatch.setattr(hubs.ModelScope, "sizes", refuse)
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", (0.0, 0.0))
    said: Said = []
    settings = Settings(_env_file=None, model="owner/tiny", models_dir=tmp_path)
    with pytest.raises(ModelUnavailable, match=rf"fetched from ModelScope .{type(error).__name__}: .*MODEL=demo"):
        locate("owner/tiny", settings, lambda *words: said.append(words))
    assert len(tried) == times
    assert len([sentence for _, sentence, _ in said if "ModelScope cannot be reached" in sentence]) == times - 1


@BOTH
def test_the_revision_that_was_asked_for_is_fetched_and_kept_apart(hub: FakeHub, tmp_path: Path, source: str) -> None:
    settings = settings_for(hub, tmp_path, model_source=source)
    locate("owner/tiny", settings, silent, revision="v1.0")
    assert "v1.0" in hub.revisions
    asked = hub.requests
    locate("owner/tiny", settings, silent, revision="v1.0")
    assert hub.requests == asked
    locate("owner/tiny", settings, silent, revision="v2.0")
    assert "v2.0" in hub.revisions


def test_a_component_alone_has_its_weights_at_the_top(open_hub: Open, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder / "transformer", tmp_path / "hub")
    (tmp_path / "hub" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"other")
    with open_hub(tmp_path / "hub") as hub:
        assert weights_in(fetched(hub, tmp_path / "models")) == {"diffusion_pytorch_model.safetensors"}


def test_a_model_that_the_hub_does_not_have_is_said_at_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.model = "owner/other"
    said: Said = []
    with pytest.raises(ModelUnavailable, match="owner/tiny could not be fetched from Hugging Face"):
        fetched(hub, tmp_path, said)
    assert not any("tried again" in sentence for _, sentence, _ in said)
