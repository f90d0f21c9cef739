"""A LoRA comes from a hub by its id, into a folder of its own, and one that can't is a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageserver.engine.downloads import ModelUnavailable, lora_download, network_failures
from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.lora_folder import LoraFolder
from imageserver.settings import Settings
from tests.support.fake_hub import FakeHub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", ())
    folder = tmp_path / "hub"
    (folder / "more").mkdir(parents=True)
    for name in ("ink.safetensors", "more/wash.SAFETENSORS", "README.md", "old.bin"):
        (folder / name).write_bytes(name.encode())
    opened = FakeHub(folder, "anna/styles")
    with opened.open():
        yield opened


def fetched(hub: FakeHub, tmp_path: Path, name: str, **changes: Any) -> Path:
    settings = Settings(
        _env_file=None, hf_endpoint=hub.url, model_source="huggingface", models_dir=tmp_path / "models",
        lora_dir=tmp_path / "loras", **changes,
    )  # fmt: skip
    return fetch_lora(name, settings, lambda phase, sentence, fraction: None)


def test_a_file_is_fetched_by_its_name_and_found_by_its_id(hub, tmp_path):
    for name in ("anna/styles:ink", "anna/styles:more/wash.SAFETENSORS"):
        fetched(hub, tmp_path, name)
    loras = LoraFolder(tmp_path / "loras")
    assert loras.names() == ["anna/styles/ink", "anna/styles/more/wash"]
    for name in ("anna/styles:ink", "anna/styles:ink.safetensors", "anna/styles/ink"):
        assert loras.find(name).name == "anna/styles/ink"
        assert loras.find(name).path.read_bytes() == b"ink.safetensors"
    assert loras.named("anna/styles") is None, "there are two"
    assert not list((tmp_path / "loras").rglob("*.part"))


def test_the_only_file_needs_no_name(hub, tmp_path):
    (hub.folder / "more" / "wash.SAFETENSORS").unlink()
    fetched(hub, tmp_path, "anna/styles")
    assert LoraFolder(tmp_path / "loras").find("anna/styles").name == "anna/styles/ink"


def test_what_cannot_be_fetched_says_why(hub, tmp_path, monkeypatch):
    for name, sentence, changes in (
        ("anna/styles", "name it as anna/styles:FILE, with one of ink.safetensors, more/wash", {}),
        ("anna/styles:old.bin", "is not one file", {}),
        ("anna/absent", "anna/absent could not be fetched from Hugging Face", {}),
        ("anna/styles:ink", "OFFLINE=1 and anna/styles:ink is not in LORA_DIR", {"offline": True}),
    ):
        with pytest.raises(ModelUnavailable, match=sentence):
            fetched(hub, tmp_path, name, **changes)
    monkeypatch.setattr(lora_download, "free_bytes", lambda folder: 1)
    with pytest.raises(ModelUnavailable, match="for which the disk has no room"):
        fetched(hub, tmp_path, "anna/styles:ink")
    assert LoraFolder(tmp_path / "loras").names() == []
