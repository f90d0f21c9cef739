"""A new engine begins with the model and the memory plan of the one before, whatever memory is free then."""

from pathlib import Path
from typing import Any

import pytest
import torch

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.sharding.sharded_forward import ShardedForward
from imageserver.engine.device_errors import DeviceLost
from imageserver.engine.devices import devices
from imageserver.engine.models import initial_model
from imageserver.engine.models.initial_model import open_model_pool
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.models.model_pool import ModelPool
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings
from tests.support.tiny_models import save_tiny_qwen_image, silent
from tests.support.tiny_pool import TinyPool
from tests.support.willing_cards import Cards

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


def test_a_clients_model_that_another_machine_had_is_fitted_to_this_one_without_a_wait_for_memory(place, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(initial_model.time, "sleep", slept.append)
    settings = Settings(
        _env_file=None, model=str(place / "model"), device="cpu", models_file=place / "models.toml", state_dir=place,
        max_pixels=256 * 256,
    )  # fmt: skip
    there = InitialModel("big", "A client chose it.", "model-offload", "It fitted there.", False, machine="10.0.0.7")
    [info] = TinyPool(settings, default_model=there.fitted_on("10.0.0.8")).pool.loaded
    assert (info.name, info.device.memory_plan) == ("big", "full")
    assert info.device.memory_reason.startswith("MEMORY=auto: ")
    monkeypatch.setattr(devices, "free_memory", lambda device: 0)
    with pytest.raises(initial_model.ModelUnavailable, match=r"CPU has 0\.0 GiB free"):
        TinyPool(settings, default_model=there.fitted_on("10.0.0.8"))
    assert slept == []


@pytest.fixture
def divided(place: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a model that two cards without processes divide."""
    Cards.patch(monkeypatch)
    return Settings(
        _env_file=None, model=str(place / "model"), device="cpu", state_dir=place, max_pixels=256 * 256,
        memory="tensor-parallel", models_file=place / "models.toml",
    )  # fmt: skip


def fail_in_every_forward(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ShardedForward, "_computed", fail)


def open_divided(settings: Settings, **initial: Any) -> ModelPool:
    group = CardGroup(("cuda:0", "cuda:1"), settings)
    return open_model_pool(settings, silent, lambda message, raw=b"": None, group=group, **initial)


def test_cards_that_fail_at_the_start_end_the_engine_and_the_next_one_tries_again(divided, monkeypatch):
    """A refusal would be for good: the seat of a model that cannot be loaded gets no other engine."""
    fail_in_every_forward(monkeypatch, RuntimeError("card cuda:1: its process has ended"))
    with pytest.raises(DeviceLost, match="its process has ended"):
        open_divided(divided)


def test_a_divided_model_whose_largest_image_never_fits_ends_the_start_with_one_sentence(divided, monkeypatch):
    fail_in_every_forward(monkeypatch, torch.OutOfMemoryError("Tried to allocate 20 GiB."))
    sentence = (
        r"model cannot be spread over cuda:0 and cuda:1: card cuda:0: out of memory: Tried to allocate 20 GiB\. "
        r"A smaller MAX_PIXELS may fit\.$"
    )
    with pytest.raises(initial_model.ModelUnavailable, match=sentence):
        open_divided(divided)


def test_a_divided_model_that_the_engine_before_had_room_for_is_tried_again(divided, monkeypatch):
    fail_in_every_forward(monkeypatch, torch.OutOfMemoryError("Tried to allocate 20 GiB."))
    before = InitialModel(divided.model, "It was chosen.", "tensor-parallel", "It fitted.", vae_tiling=False)
    with pytest.raises(DeviceLost, match="out of memory"):
        open_divided(divided, configured_model=before)


def test_a_divided_model_that_the_engine_before_died_of_is_refused_with_the_sentence(divided, monkeypatch):
    fail_in_every_forward(monkeypatch, torch.OutOfMemoryError("Tried to allocate 20 GiB."))
    before = InitialModel(divided.model, "Chosen.", "tensor-parallel", "Fits.", vae_tiling=False, was_loaded=False)
    with pytest.raises(initial_model.ModelUnavailable, match="cannot be spread over"):
        open_divided(divided, configured_model=before)


def test_after_a_default_model_that_cost_the_other_cards_the_model_of_the_settings_has_them_all(divided, monkeypatch):
    tried: list[tuple[str, ...]] = []

    def load(pool: ModelPool, found: FoundModel, *_: Any, **__: Any) -> None:
        tried.append(found.cards)
        if len(tried) == 1:
            assert pool.group is not None
            pool.group.break_up("card cuda:1: out of memory")
            raise initial_model.ModelUnavailable("It cannot be spread over them.")

    monkeypatch.setattr(ModelPool, "load", load)
    before = InitialModel("big", "A client chose it.", "full", "It fitted.", vae_tiling=False)
    open_divided(divided, default_model=before)
    assert tried == [("cuda:0", "cuda:1")] * 2
