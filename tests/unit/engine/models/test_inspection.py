"""The engine's part of `doctor`: the device, the model, its files and the hub, without loading anything."""

import json
import shutil
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from imageserver.engine.downloads import disk_space
from imageserver.engine.models.automatic_choice import ModelChoice
from imageserver.engine.models.inspection import findings, hub_access, unused_card
from imageserver.engine.models.weight_files import completeness
from imageserver.settings import Settings
from tests.support.fake_hub import FakeHub
from tests.support.tiny_models import save_tiny_qwen_image


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen_image(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def states(model: str, **changes: object) -> dict[str, tuple[str, str]]:
    """Return what is found, and that nothing is loaded for it."""
    settings = Settings(_env_file=None, model=model, device="cpu", **changes)
    return {finding.name: (finding.state, finding.sentence) for finding in findings.inspect(settings)}


def test_a_whole_model_has_no_problem_and_its_plan_is_told(model):
    found = states(str(model), offline=True)
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ("torch", "device", "model", "files", "memory"), "ok"
    )
    assert "The plan is full." in found["memory"][1]


def test_a_file_that_was_cut_off_is_named_with_its_sizes(model):
    [file] = (model / "transformer").glob("*.safetensors")
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size - 10])
    state, sentence = states(str(model))["files"]
    assert state == "problem"
    assert f"transformer/{file.name} has {size - 10} of {size} bytes" in sentence
    assert "memory" not in states(str(model))
    file.write_bytes(b"no weights at all")
    assert "has no readable header" in states(str(model))["files"][1]


def test_missing_files_are_named(model):
    [file] = (model / "vae").glob("*.safetensors")
    [encoder] = (model / "text_encoder").glob("*.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    encoder.rename(encoder.with_name(shards["a"]))
    (model / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    file.unlink()
    assert completeness.faults(model) == ["text_encoder lacks model-00002-of-00002.safetensors", "vae has no weights"]
    assert completeness.faults(model, left_out={"vae", "text_encoder"}) == []
    (model / "text_encoder" / "model.fp16.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "b"}}))
    assert len(completeness.faults(model)) == 2, "the list of a variant that nobody loads says nothing"
    file.symlink_to(model / "emptied cache")
    assert completeness.faults(model)[1] == f"vae/{file.name} is missing"


def test_a_device_and_a_model_that_do_not_exist_are_problems():
    settings = Settings(_env_file=None, model="demo", device="nonsense")
    *_, last = findings.inspect(settings)
    assert (last.name, last.state) == ("device", "problem")
    assert "DEVICE=nonsense cannot be used" in last.sentence
    assert states("nowhere")["model"][0] == "problem"


@pytest.mark.parametrize(
    ("has_driver", "build", "said"),
    [(False, "13.0", "driver is not loaded"), (True, None, "delete .venv"), (True, "13.0", "too old for CUDA 13.0")],
)
def test_a_card_that_pytorch_does_not_see_is_told_with_what_is_missing(tmp_path, monkeypatch, has_driver, build, said):
    bridge, card = (tmp_path / name for name in ("0000:00:01.0", "0000:00:04.0"))
    for folder, vendor, kind in ((bridge, "0x8086", "0x060400"), (card, "0x10de", "0x030200")):
        folder.mkdir()
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    driver = tmp_path / "version"
    if has_driver:
        driver.write_text("NVRM version: 580\n")
    monkeypatch.setattr(unused_card, "PCI_DEVICES", tmp_path)
    monkeypatch.setattr(unused_card, "DRIVER", driver)
    monkeypatch.setattr(unused_card.torch.version, "cuda", build)
    monkeypatch.setattr(findings.devices, "choose", lambda name: unused_card.torch.device("cpu"))
    for wanted in ("", "auto"):
        settings = Settings(_env_file=None, model="demo", devices=wanted)
        found = {each.name: each for each in findings.inspect(settings)}
        assert (found["card"].state, said in found["card"].sentence) == ("warning", True)
    assert "card" not in states("demo"), "the CPU was chosen"
    shutil.rmtree(card)
    assert "card" not in {each.name for each in findings.inspect(Settings(_env_file=None, model="demo"))}


def test_a_model_that_is_not_on_the_disk_needs_its_hub_and_is_not_downloaded(tmp_path):
    with FakeHub(tmp_path, "owner/far").open() as address:
        options = {"model_source": "huggingface", "hf_endpoint": address, "models_dir": tmp_path / "models"}
        found = states("owner/far", **options)
        assert (found["hub"], found["files"][0]) == (("ok", f"{address} answers."), "warning")
        names = tmp_path / "names.toml"
        names.write_text('["far"]\nsource = "owner/far"\ndownload_gb = 1e9\n')
        state, sentence = states("far", **options, models_file=names)["files"]
        assert (state, "free some space" in sentence) == ("problem", True)
    assert states("owner/far", **options)["hub"][0] == "problem"
    state, sentence = states("owner/far", **options, offline=True)["files"]
    assert (state, "start once without OFFLINE=1" in sentence) == ("problem", True)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("stored", "state"), [(0, "problem"), (2_000_000, "warning")])
def test_a_download_for_which_the_start_would_find_too_little_room_is_a_problem(tmp_path, monkeypatch, stored, state):
    disk = SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=10_500_000))
    monkeypatch.setattr(disk_space, "shutil", disk)
    names = tmp_path / "names.toml"
    names.write_text('["far"]\nsource = "owner/far"\ndownload_gb = 0.01\n')
    begun = tmp_path / "models" / "models--owner--far" / "blobs" / "unfinished"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(bytes(stored))
    with FakeHub(tmp_path, "owner/far").open() as address:
        found = states(
            "far", model_source="huggingface", hf_endpoint=address, models_dir=tmp_path / "models", models_file=names
        )
    assert found["files"][0] == state


def test_without_its_hub_what_auto_takes_instead_is_found_too(tmp_path, monkeypatch):
    def choose(settings: Settings, device: object, *, hub_failed: bool) -> ModelChoice:
        return ModelChoice("demo" if hub_failed else "owner/far", "It is the best.")

    monkeypatch.setattr(findings.model_choice, "choose_model", choose)
    settings = Settings(
        _env_file=None, device="cpu", model_source="huggingface", hf_endpoint="http://127.0.0.1:9", models_dir=tmp_path
    )
    found = [(finding.name, finding.state) for finding in findings.inspect(settings)][2:]
    assert found == [("model", "ok"), ("hub", "warning"), ("model", "ok"), ("files", "ok"), ("memory", "ok")]


def test_a_hub_that_accepts_and_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(hub_access, "MAX_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(_env_file=None, hf_endpoint=address)
        finding = hub_access.check_hub(settings, "huggingface", otherwise="warning", advice="so be it")
    assert finding.state == "warning"
    assert finding.sentence.startswith(f"{address} did not answer within 0.2 s")
    assert finding.sentence.endswith("; so be it.")


def test_a_hub_whose_name_is_never_found_is_given_up_as_well(monkeypatch):
    monkeypatch.setattr(hub_access, "MAX_SECONDS", 0.2)
    never = threading.Event()

    def head(*_: object, **__: object) -> None:
        never.wait(30)
        raise hub_access.requests.ConnectionError

    monkeypatch.setattr(hub_access.requests, "head", head)
    settings = Settings(_env_file=None, hf_endpoint="http://hub.invalid")
    assert hub_access.check_hub(settings, "huggingface", otherwise="problem", advice="").state == "problem"
    never.set()
