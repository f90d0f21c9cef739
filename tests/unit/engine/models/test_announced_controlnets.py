"""What does not fit or suit a model is refused by what its hub says of it, before it is downloaded."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine.devices import devices
from imageserver.engine.devices.memory_needs import need_of
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.downloads import ModelUnavailable, announced, network_failures
from imageserver.engine.models import candidates, machine, model_choice
from imageserver.engine.models.candidates import Candidate
from imageserver.engine.models.inspection import findings
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.models.weight_files.weights import component_bytes
from imageserver.engine.runner import controlnet
from imageserver.settings import Settings
from tests.support import tiny_models
from tests.support.fake_hub import FakeHub
from tests.support.tiny_controls import tiny_control
from tests.support.tiny_models import silent

WEIGHTS = "diffusion_pytorch_model.safetensors"
GIB = 1024**3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models of both kinds with a ControlNet for each, and the one of Stable Diffusion XL."""
    place = tmp_path_factory.mktemp("made")
    for name in ("stable_diffusion", "stable_diffusion_xl", "qwen_image"):
        pipeline = getattr(tiny_models, f"tiny_{name}")()
        if name != "stable_diffusion_xl":
            pipeline.save_pretrained(place / name)
        tiny_control(pipeline).save_pretrained(place / f"{name}_net")
    return place


@pytest.fixture
def hub(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a ControlNet for Stable Diffusion."""
    monkeypatch.setattr(network_failures, "RETRY_SECONDS", (0.0,))
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(announced, "MAX_SECONDS", 60.0)
    hub = FakeHub(made / "stable_diffusion_net", "owner/net")
    with hub.open():
        yield hub
    announced._ask.cache_clear()


def settings_for(hub: FakeHub, place: Path, model: Path | str, **changes: Any) -> Settings:
    return Settings(
        _env_file=None, model=str(model), device="cpu", models_dir=place / "models", state_dir=place,
        **{"controlnet": "owner/net", "hf_endpoint": hub.url, "model_source": "huggingface"} | changes,
    )  # fmt: skip


def nothing_was_fetched(hub: FakeHub, place: Path) -> bool:
    return WEIGHTS not in hub.ranges and not (place / "models").exists()


def test_one_that_does_not_fit_beside_the_model_is_refused_with_what_is_free(hub, made, tmp_path, monkeypatch):
    settings = settings_for(hub, tmp_path, made / "stable_diffusion")
    alone = model_choice.find(settings.model_copy(update={"controlnet": ""}), silent)
    free = need_of(BY_NAME["full"], alone.weights, alone.dtype, alone.pixels, tiled=True).device
    monkeypatch.setattr(devices, "free_memory", lambda device: free)
    with pytest.raises(ModelUnavailable) as refused:
        ModelPool(settings, lambda *_: None, silent).find(settings.model, silent)
    assert "of them for CONTROLNET, and CPU has" in str(refused.value)
    assert str(refused.value).endswith(": leave CONTROLNET empty, or choose a smaller ControlNet or model.")
    assert nothing_was_fetched(hub, tmp_path)
    # What a loaded model would leave counts as free.
    found = model_choice.find(settings, silent, reclaimable=free)
    assert found.control_folders
    assert hub.ranges[WEIGHTS]


def test_a_model_is_downloaded_for_another_machine_or_another_time_whatever_is_free(hub, made, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "free_memory", lambda device: 0)
    assert model_choice.find(settings_for(hub, tmp_path, made / "stable_diffusion"), silent).control_folders


def test_beside_a_model_that_a_group_divides_it_is_downloaded(hub, made, tmp_path):
    hub.folder = made / "qwen_image_net"
    settings = settings_for(hub, tmp_path, made / "qwen_image", memory="tensor-parallel")
    group = SimpleNamespace(started=("cpu:0", "cpu:1"))
    pool = ModelPool(settings, lambda *_: None, silent, group=group)
    assert pool.find(settings.model, silent).control_folders


@pytest.mark.parametrize(
    "config",
    [
        '{"_class_name": "ControlNetModel", "norm_num_groups": 0}',
        '{"_class_name": "OnnxStableDiffusionPipeline"}',
        '["ControlNetModel"]',
    ],
)
def test_a_configuration_that_no_class_takes_is_refused_with_a_sentence(hub, tmp_path, config):
    hub.folder = tmp_path / "net"
    hub.folder.mkdir()
    (hub.folder / "config.json").write_text(config)
    [known] = controlnet.look_up(settings_for(hub, tmp_path, "demo"), None)
    with pytest.raises(ModelUnavailable, match=r"CONTROLNET=owner/net has a config\.json that makes no ControlNet"):
        known.count_weights()
    with pytest.raises(ModelUnavailable):
        controlnet.look_up(settings_for(hub, tmp_path, "demo", controlnet=str(tmp_path)), None)
    # Counting it for MODEL=auto ends nothing.
    assert machine.inspect_machine(settings_for(hub, tmp_path, "auto"), torch.device("cpu")).controls == 0


@pytest.mark.parametrize(
    ("net", "model", "part"),
    [
        ("stable_diffusion_net", "qwen_image", "CONTROLNET=owner/net is a ControlNetModel; qwen-image needs a Qwen"),
        ("stable_diffusion_xl_net", "stable_diffusion", "made for another model: its cross_attention_dim is 64"),
    ],
)
def test_one_that_is_for_another_model_is_refused(hub, made, tmp_path, net, model, part):
    hub.folder = made / net
    with pytest.raises(ModelUnavailable, match=part):
        model_choice.find(settings_for(hub, tmp_path, made / model), silent)
    assert nothing_was_fetched(hub, tmp_path)


def test_beside_one_that_it_does_not_take_no_model_is_downloaded(hub, made, tmp_path):
    hub.folder, hub.model = made / "qwen_image", "owner/tiny"
    settings = settings_for(hub, tmp_path, "owner/tiny", controlnet=str(made / "stable_diffusion_net"))
    with pytest.raises(ModelUnavailable, match="qwen-image needs a QwenImageControlNetModel"):
        model_choice.find(settings, silent)
    assert not [name for name in hub.ranges if name.endswith(".safetensors")]


def test_the_room_on_the_disk_is_for_the_model_and_for_what_comes_after_it(hub, made, tmp_path, monkeypatch):
    missing = 20 * GIB
    net = controlnet.KnownNet("owner/net", {"_class_name": "QwenImageControlNetModel"}, download=missing)
    hub.folder, hub.model = made / "qwen_image", "owner/tiny"
    settings = settings_for(hub, tmp_path, "owner/tiny")
    entry, _ = model_choice.registered("owner/tiny", settings)
    monkeypatch.setattr("imageserver.engine.downloads.search.free_bytes", lambda folder: missing)
    with pytest.raises(ModelUnavailable, match=r"and one of 21\.5 GB for CONTROLNET, and .* has 21\.5 GB free"):
        model_choice.locate_pipeline("owner/tiny", entry, settings, torch.device("cpu"), silent, nets=[net])


def test_one_that_the_hub_does_not_have_is_refused_before_the_model_is_looked_for(hub, tmp_path):
    settings = settings_for(hub, tmp_path, "owner/absent", controlnet="owner/misspelt")
    with pytest.raises(ModelUnavailable, match=r"owner/misspelt could not .* or leave CONTROLNET empty\.$"):
        model_choice.find(settings, silent)


def test_of_one_whose_hub_does_not_answer_nothing_is_known_and_the_download_says_so(hub, made, tmp_path):
    settings = settings_for(hub, tmp_path, made / "stable_diffusion", hf_endpoint="http://127.0.0.1:9")
    assert controlnet.look_up(settings, None) == []
    with pytest.raises(ModelUnavailable, match=r"check the id and the network, or leave CONTROLNET empty\.$"):
        model_choice.find(settings, silent)
    with pytest.raises(ModelUnavailable, match=r"start once without OFFLINE to download it, or leave CONTROLNET empty"):
        model_choice.find(settings_for(hub, tmp_path, made / "stable_diffusion", offline=True), silent)
    assert hub.requests == 0


def test_the_automatic_choice_knows_what_the_hub_has_and_asks_it_once(hub, made, tmp_path, monkeypatch):
    monkeypatch.setitem(candidates.LADDERS, "cpu", (Candidate("sd-1.5", 0),))
    settings = settings_for(hub, tmp_path, "auto", controlnet="silhouettes,owner/net")
    found = machine.inspect_machine(settings, torch.device("cpu"))
    assert {kind.class_name for kind in found.control_nets} == {"QwenImageControlNetModel", "ControlNetModel"}
    [known] = [net for net in controlnet.look_up(settings, None) if net.name == "owner/net"]
    net = made / "stable_diffusion_net"
    assert known.count_weights() * 4 == component_bytes(net, torch.float32)
    assert known.download == sum(file.stat().st_size for file in net.iterdir())
    assert found.controls_gb == known.download / 1e9
    assert nothing_was_fetched(hub, tmp_path)
    asked = hub.requests
    machine.inspect_machine(settings, torch.device("cpu"))
    assert hub.requests == asked


def test_no_hub_is_asked_for_what_came_from_another_one(hub, made, tmp_path, monkeypatch):
    ladder = (Candidate("qwen-image-2512", 0), Candidate("sd-1.5", 0))
    monkeypatch.setitem(candidates.LADDERS, "cpu", ladder)
    entries = [candidates.entry_of(each.model, settings_for(hub, tmp_path, "auto")) for each in ladder]
    assert [entry.hub for entry in entries if entry] == [None, "huggingface"]
    model_choice.find(settings_for(hub, tmp_path, made / "stable_diffusion"), silent)
    asked: list[bool] = []
    monkeypatch.setattr(controlnet, "announced", lambda _, settings, *__, **___: asked.append(not settings.offline))
    found = machine.inspect_machine(settings_for(hub, tmp_path, "auto", model_source="modelscope"), torch.device("cpu"))
    assert (len(found.control_nets), found.controls_gb, any(asked)) == (1, 0, False)


def test_why_the_hub_failed_is_said_where_the_demo_model_does_not_take_the_controlnet(hub, made, tmp_path, monkeypatch):
    monkeypatch.setitem(candidates.LADDERS, "cpu", (Candidate("sd-1.5", 0),))
    monkeypatch.delitem(candidates.TEXT_WIDTHS, "sd-1.5")
    settings = settings_for(hub, tmp_path, "auto", controlnet=str(made / "stable_diffusion_net"))
    with pytest.raises(ModelUnavailable, match=r"could not be fetched from Hugging Face \(.*takes no such ControlNet"):
        model_choice.find(settings, silent)


def test_the_doctor_tells_what_will_be_downloaded_and_what_does_not_fit(hub, made, tmp_path, monkeypatch):
    def told(**changes: Any) -> list[tuple[str, str]]:
        settings = settings_for(hub, tmp_path, made / "stable_diffusion", **changes)
        return [(finding.state, finding.sentence) for finding in findings.inspect(settings)][3:]

    (state, sentence), files, memory = told()
    assert (state, files[0], memory[0]) == ("warning", "ok", "ok")
    assert sentence.startswith("CONTROLNET=owner/net is not on the disk; a download of ")
    [(state, sentence), _, _] = told(offline=True)
    assert (state, "OFFLINE=1 asks no hub" in sentence) == ("problem", True)
    [(state, sentence)] = told(controlnet="owner/misspelt")
    assert (state, "owner/misspelt could not be fetched" in sentence) == ("problem", True)
    monkeypatch.setattr(devices, "free_memory", lambda device: 10)
    assert told()[-1][0] == "problem"
    assert nothing_was_fetched(hub, tmp_path)
