"""MODEL=auto from the machine to the files: on the disk first, from the hub where it may, else the demo model."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine.devices import devices
from imageserver.engine.downloads import network_failures
from imageserver.engine.models import candidates, loading, machine, model_choice
from imageserver.engine.models.candidates import Candidate
from imageserver.engine.models.initial_model import open_model_pool
from imageserver.engine.runner import controlnet
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings
from tests.support.fake_hub import FakeHub
from tests.support.tiny_models import save_tiny_qwen_image, silent
from tests.support.tiny_pool import TinyPool


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a tiny model, which MODEL=auto may choose on this machine's CPU as `qwen-image-2512`."""
    monkeypatch.setitem(candidates.LADDERS, "cpu", (Candidate("qwen-image-2512", 0, vae_tiling=True),))
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", (0.0,))
    hub = FakeHub(save_tiny_qwen_image(tmp_path / "hub"), "owner/tiny")
    with hub.open():
        yield hub


def settings_for(hub: FakeHub, place: Path, **changes: Any) -> Settings:
    names = place / "names.toml"
    names.write_text(
        '["qwen-image-2512"]\nsource = "owner/tiny"\nlicence = "Free"\ndownload_gb = 0.001\nsize = "64x64"\n'
    )
    return Settings(
        _env_file=None, device="cpu", models_file=names, models_dir=place / "models", hf_endpoint=hub.url,
        model_source="huggingface", state_dir=place, max_pixels=256 * 256, **changes,
    )  # fmt: skip


def test_only_the_demo_model_says_what_would_generate_real_images_in_its_place(hub, tmp_path):
    settings = settings_for(hub, tmp_path)
    real = model_choice.find(settings, silent)
    assert model_choice.recommended_instead(real) is None
    demo = model_choice.find(settings.model_copy(update={"model": "demo"}), silent)
    assert model_choice.recommended_instead(demo).settings == "MODEL=qwen-image-2512 VAE_TILING=1"
    settings.models_file.write_text("a mistake")
    assert model_choice.recommended_instead(demo) is None


def test_the_best_that_fits_is_downloaded_once_and_then_it_is_on_the_disk(hub, tmp_path):
    settings = settings_for(hub, tmp_path)
    before = machine.inspect_machine(settings, torch.device("cpu"))
    assert (before.kind, before.on_disk) == ("cpu", frozenset())
    assert before.free > 0 < before.disk
    found = model_choice.find(settings, silent)
    assert found.name == "qwen-image-2512"
    assert "a download of 0.0 GB, licence Free" in found.reason
    after = machine.inspect_machine(settings, torch.device("cpu"))
    assert after.on_disk == {"qwen-image-2512"}
    assert after.stored["qwen-image-2512"] > before.stored["qwen-image-2512"] == 0
    asked = hub.requests
    assert "its files are on the disk" in model_choice.find(settings, silent).reason
    assert hub.requests == asked


def test_offline_the_controlnets_on_the_disk_are_counted_and_no_hub_is_asked_for_the_others(hub, tmp_path):
    settings = settings_for(hub, tmp_path, controlnet="silhouettes,owner/absent", offline=True)
    found = machine.inspect_machine(settings, torch.device("cpu"))
    counted = found.controls * machine.GIB
    in_files = sum(file.stat().st_size for file in (controlnet.SHIPPED / "silhouettes").glob("*.safetensors"))
    assert counted == pytest.approx(in_files, rel=0.02), "it has 16 bits"
    assert found.control_nets == {controlnet.NetKind("QwenImageControlNetModel", 192)}
    assert hub.requests == 0


def test_its_plan_is_part_of_the_choice_and_the_settings_go_before_it(hub, tmp_path):
    found = model_choice.find(settings_for(hub, tmp_path), silent)
    plan, why = found.plan()
    assert (plan.name, found.settings.vae_tiling) == ("full", True)
    assert why.startswith("MODEL=auto:")
    found = model_choice.find(settings_for(hub, tmp_path, vae_tiling=False), silent)
    assert (found.name, found.settings.vae_tiling) == ("demo", False)
    assert "was asked for" in model_choice.find(settings_for(hub, tmp_path, memory="full"), silent).plan()[1]


def test_a_plan_that_does_not_fit_after_all_is_chosen_again(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(candidates.LADDERS, "cpu", (Candidate("qwen-image-2512", 0, "model-offload"),))
    assert model_choice.find(settings_for(hub, tmp_path), silent).plan()[0].name == "full"


@pytest.mark.parametrize("fault", ["unwell", "refuses"])
def test_without_the_hub_it_is_what_the_disk_has_and_the_log_says_so(hub, tmp_path, caplog, monkeypatch, fault):
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    if fault == "unwell":
        hub.unwell = 1000
    else:
        hub.model = "owner/elsewhere"
    with caplog.at_level(logging.WARNING):
        found = model_choice.find(settings_for(hub, tmp_path), silent)
    assert found.name == "demo"
    for part in ("owner/tiny could not be fetched from Hugging Face", "the next start tries"):
        assert part in found.reason
    assert "OFFLINE" not in found.reason
    assert found.reason in caplog.text


def test_a_demo_model_on_a_card_is_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(devices, "is_accelerator", lambda device: True)
    with caplog.at_level(logging.INFO):
        model_choice.find(Settings(_env_file=None, device="cpu", models_dir=tmp_path), silent)
    assert [record.levelname for record in caplog.records if "the embedded demo model" in record.message] == ["WARNING"]


def test_the_next_engine_keeps_the_choice_with_its_tiles(hub, tmp_path):
    settings = settings_for(hub, tmp_path)
    [first] = TinyPool(settings).pool.loaded
    assert first.device.vae_tiling
    [second] = TinyPool(settings, configured_model=InitialModel.of(first)).pool.loaded
    assert (second.name, second.reason, second.device.vae_tiling) == (first.name, first.reason, True)
    assert second.device.memory_reason == first.device.memory_reason


def test_an_engine_that_dies_of_its_first_choice_has_said_it_and_the_next_one_takes_no_demo(hub, tmp_path, monkeypatch):
    def die(*_: Any) -> None:
        raise SystemExit("stands for the system, which kills the process")

    settings, sent = settings_for(hub, tmp_path), []
    with monkeypatch.context() as dying:
        dying.setattr(loading, "_assemble", die)
        with pytest.raises(SystemExit):
            open_model_pool(settings, silent, lambda message, raw: sent.append(message))
    [message] = sent
    monkeypatch.setitem(candidates.LADDERS, "cpu", ())
    assert model_choice.find(settings, silent).name == "demo", "with the memory that the dead engine leaves"
    [info] = TinyPool(settings, configured_model=message.choice).pool.loaded
    assert (info.name, info.reason) == ("qwen-image-2512", message.choice.reason)
    assert InitialModel.of(info) == replace(message.choice, was_loaded=True)


def test_a_chosen_name_needs_no_entry_in_the_owners_file_and_its_size_no_larger_limit(tmp_path):
    own = tmp_path / "models.toml"
    own.write_text("")
    settings = Settings(_env_file=None, models_file=own, max_pixels=512 * 512)
    entry, _ = model_choice.registered("z-image-turbo", settings)
    assert (entry.source, entry.size) == ("Tongyi-MAI/Z-Image-Turbo", None)
