"""A new engine begins with the model and the memory plan of the one before, whatever memory is free then."""

from pathlib import Path
from typing import Any

import pytest
import torch

from imageserver.engine.devices import devices
from imageserver.engine.models import initial_model
from imageserver.protocol.engine_config import InitialModel
from imageserver.settings import Settings
from tests.support.tiny_models import save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool

PLENTY = 1024**4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that the file of models calls `big`."""
    place = tmp_path_factory.mktemp("initial")
    save_tiny_qwen_image(place / "model")
    (place / "models.toml").write_text(f"[big]\nsource = '{place / 'model'}'\n")
    return place


class Memory:
    """The device's free memory: so many readings find it taken, the others free."""

    def __init__(self, taken: float) -> None:
        self.taken, self.seconds = taken, 0.0

    def free(self, device: torch.device) -> int:
        self.taken -= 1
        return PLENTY if self.taken < 0 else 0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def begin(place: Path, monkeypatch: pytest.MonkeyPatch, *, taken: float = 0, **changes: Any) -> tuple[TinyPool, Memory]:
    """Open the pool of an engine whose predecessor had chosen `big` for MODEL=auto."""
    memory = Memory(taken)
    monkeypatch.setattr(devices, "free_memory", memory.free)
    monkeypatch.setattr(initial_model.time, "sleep", memory.sleep)
    monkeypatch.setattr(initial_model.time, "monotonic", lambda: memory.seconds)
    settings = Settings(
        _env_file=None, model="auto", device="cpu", models_file=place / "models.toml", state_dir=place,
        max_pixels=256 * 256, **changes,
    )  # fmt: skip
    before = InitialModel("big", "MODEL=auto: it was free.", "full", "MEMORY=auto: it fitted.", vae_tiling=True)
    return TinyPool(settings, configured_model=before), memory


def test_the_automatic_choice_of_the_first_engine_holds_for_the_next_one(place, monkeypatch):
    opened, memory = begin(place, monkeypatch)
    [info] = opened.pool.loaded
    assert (info.name, info.reason) == ("big", "MODEL=auto: it was free."), "by itself it would be the demo on a CPU"
    assert (info.device.memory_reason, info.device.vae_tiling) == ("MEMORY=auto: it fitted.", True)
    assert memory.seconds == 0


def test_it_waits_while_the_memory_of_the_dead_engine_is_taken(place, monkeypatch):
    opened, memory = begin(place, monkeypatch, taken=9)
    assert opened.names == ["big"]
    assert 0 < memory.seconds < initial_model.MEMORY_WAIT_SECONDS
    assert ("waiting", "big waits until the memory of the last engine is free.") in opened.reports


def test_without_that_memory_it_fails_with_a_sentence_and_never_takes_another_model(place, monkeypatch):
    with pytest.raises(initial_model.ModelUnavailable, match=r"big needs about .* and CPU has 0.0 GiB free"):
        begin(place, monkeypatch, taken=float("inf"))


def test_a_setting_changed_since_goes_before_what_the_engine_before_had(place, monkeypatch):
    monkeypatch.setattr(initial_model, "MEMORY_WAIT_SECONDS", 0.0)
    settings = Settings(_env_file=None, model=str(place / "model"), device="cpu", state_dir=place)
    opened = TinyPool(
        settings, configured_model=InitialModel("big", "Long ago.", "full", "Long ago.", vae_tiling=False)
    )
    assert opened.names == [str(place / "model")]
