"""Several models in one engine: side by side where they fit, one for another where they do not."""

import queue
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_qwenimage import QwenEmbedRope

from imageserver.engine.devices import batch_limits, devices, placement
from imageserver.engine.models import model_pool, warmup
from imageserver.engine.models.load_queue import LoadQueue, ModelSearch
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.pipelines.method_caches import method_caches
from imageserver.generation import Generation, ModelInfo, Source
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    Finished,
    LoadModel,
    ModelFetched,
    ModelsLoaded,
    UnloadModel,
)
from imageserver.settings import Settings
from tests.support.device_errors import DEVICE_LOST
from tests.support.factories import generation
from tests.support.tiny_models import save_tiny_qwen_image, silent, tiny_stable_diffusion
from tests.support.tiny_pool import TinyPool
from tests.support.willing_cards import Cards

GIB = 1024**3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tiny models, and the folder of what is measured of them."""
    place = tmp_path_factory.mktemp("several")
    tiny_stable_diffusion().save_pretrained(place / "sd")
    for name in ("qwen", "twin"):
        save_tiny_qwen_image(place / name)
    broken = place / "broken" / "transformer"
    save_tiny_qwen_image(place / "broken")
    [weights] = broken.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:2000])
    return {name: place / name for name in ("qwen", "twin", "sd", "broken", "state")}


class SeveralModels(TinyPool):
    """A pool that begins with `qwen`, and loads the others one at a time."""

    def __init__(self, folders: dict[str, Path], *, default_model: str | None = None, **changes: Any) -> None:
        names = folders["state"].parent / "names.toml"
        names.write_text("\n".join(f"[{name}]\nsource = '{path}'" for name, path in folders.items()))
        settings = Settings(
            _env_file=None, model="qwen", models_file=names, device="cpu", state_dir=folders["state"],
            max_pixels=256 * 256, **changes,
        )  # fmt: skip
        super().__init__(
            settings, default_model=InitialModel.of(ModelInfo(name=default_model)) if default_model else None
        )
        self.searches: queue.SimpleQueue[ModelSearch] = queue.SimpleQueue()
        self.loads = LoadQueue(self.pool, self.send, self.report, self.searches.put)

    def find(self, name: str) -> None:
        """Let a model be looked for, and go on when it is found."""
        self.loads.load(LoadModel(job=7, name=name))
        self.loads.receive(self.searches.get(timeout=60))

    def load(self, name: str) -> Failed | None:
        """Load a model and return why it was not."""
        self.sent.clear()
        self.find(name)
        [(answer, _)] = self.of(ModelsLoaded)
        assert [info.name for info in answer.models] == self.names
        failure: Failed | None = answer.failure
        return failure


def of(model: str, **wanted: Any) -> Generation:
    """Return an image of a model, the same bytes however it is generated."""
    return generation(model=model, **({"deterministic": True} | wanted))


@pytest.fixture
def several(folders: dict[str, Path]) -> SeveralModels:
    """A pool with one model and room for others."""
    return SeveralModels(folders)


def test_two_models_stay_side_by_side_and_take_turns(several: SeveralModels) -> None:
    [alone] = several.generate(of("qwen"))
    assert several.load("sd") is None
    assert several.names == ["qwen", "sd"]
    [sd_alone] = several.generate(of("sd"))
    assert several.generate(of("qwen"), of("sd")) == [alone, sd_alone]


def test_images_of_different_models_never_share_a_forward(several: SeveralModels) -> None:
    assert several.load("twin") is None
    several.generate(generation(model="qwen"), generation(model="twin"))
    scheduler = several.pool.step_scheduler
    assert scheduler.calls == scheduler.forwards == 16, "2 images x 4 steps x 2 passes, though all are of one size"


def test_a_short_job_of_another_model_overtakes_a_long_one(several: SeveralModels) -> None:
    assert several.load("sd") is None
    several.add(1, of("qwen", steps=40))
    for _ in range(3):
        several.pool.step_scheduler.step()
    several.add(2, of("sd", steps=2))
    several.run()
    assert [message.job for message, _ in several.wait_for(Finished, 2)] == [2, 1]


def test_without_room_what_was_used_least_recently_leaves_and_its_memory_is_freed(folders: dict[str, Path]) -> None:
    several = SeveralModels(folders, max_loaded_models=2)
    assert several.load("twin") is None
    several.generate(of("qwen"))
    denoisers = [weakref.ref(each) for each in several.denoisers()]
    assert several.load("sd") is None
    assert several.names == ["qwen", "sd"]
    assert [each() for each in denoisers].count(None) == 1


def test_a_model_that_is_generated_with_is_waited_for(folders: dict[str, Path]) -> None:
    several = SeveralModels(folders, max_loaded_models=1)
    several.add(1, of("qwen", steps=3))
    several.find("sd")
    assert several.names == ["qwen"]
    assert several.reports[-1][0] == "waiting"
    while several.pool.step_scheduler.busy:
        assert several.names == ["qwen"]
        several.pool.step_scheduler.step()
        several.loads.load_waiting()
    assert several.names == ["sd"]


def test_memory_decides_where_no_number_does(several: SeveralModels, monkeypatch: pytest.MonkeyPatch) -> None:
    def free_memory(device: object) -> int:
        return GIB if len(several.names) < 2 else 1000

    monkeypatch.setattr(devices, "free_memory", free_memory)
    # Their weights, which would be free without them, seem to be gigabytes.
    monkeypatch.setattr(model_pool.devices, "MIB", GIB)
    assert several.load("twin") is None
    assert several.load("sd") is None
    assert several.names == ["twin", "sd"]


def test_a_model_that_would_not_fit_even_alone_drives_nothing_out(
    several: SeveralModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    monkeypatch.setattr(model_pool.devices, "MIB", 1)
    failure = several.load("sd")
    assert failure is not None
    assert (failure.code, failure.param) == ("model_unloadable", "model")
    assert "needs about" in failure.sentence
    assert several.names == ["qwen"]


def test_a_broken_model_leaves_the_others_and_its_folder_unsaid(
    several: SeveralModels, folders: dict[str, Path]
) -> None:
    before = several.generate(of("qwen"))
    failure = several.load("broken")
    assert failure is not None
    assert failure.sentence.startswith("broken cannot be loaded: ")
    assert str(folders["broken"]) not in failure.sentence
    assert several.names == ["qwen"]
    assert several.generate(of("qwen")) == before


def _names_a_class_that_is_not_there(folder: Path, _: pytest.MonkeyPatch) -> None:
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("UNet2DConditionModel", "UNet9DConditionModel"))


def _fills_the_device(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def move_to_device(*_: Any) -> None:
        # As the driver says it, outside of PyTorch's allocator; it is not the end of the device.
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(placement, "move_to_device", move_to_device)


def _needs_a_package(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: Any) -> None:
        raise ImportError("\nT5Tokenizer requires the sentencepiece library.\nSee its page.")

    monkeypatch.setattr(model_pool, "load_and_warm_up", prepare)


def _says_nothing(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(model_pool, "load_and_warm_up", prepare)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_names_a_class_that_is_not_there, "UNet9DConditionModel"),
        (_fills_the_device, "spoilt cannot be loaded: CUDA error: out of memory"),
        (_needs_a_package, "spoilt cannot be loaded: ImportError: T5Tokenizer requires the sentencepiece library."),
        (_says_nothing, "spoilt cannot be loaded: AssertionError: AssertionError"),
    ],
)
def test_whatever_goes_wrong_over_a_model_ends_no_engine(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, sentence: str
) -> None:
    several = SeveralModels(folders | {"spoilt": tmp_path / "spoilt"})
    before = several.generate(of("qwen"))
    tiny_stable_diffusion().save_pretrained(tmp_path / "spoilt")
    spoil(tmp_path / "spoilt", monkeypatch)
    failure = several.load("spoilt")
    assert failure is not None
    assert (failure.code, failure.param) == ("model_unloadable", "model")
    assert sentence in failure.sentence
    assert str(tmp_path) not in failure.sentence
    assert several.names == ["qwen"]
    monkeypatch.undo()
    assert several.generate(of("qwen")) == before


@pytest.mark.parametrize("place", [(placement, "move_to_device"), (warmup, "_caps")], ids=lambda place: place[1])
def test_a_device_that_is_lost_over_a_model_is_no_fault_of_the_model(
    several: SeveralModels, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    def lose(*_: Any) -> None:
        raise DEVICE_LOST[1]

    monkeypatch.setattr(*place, lose)
    with pytest.raises(torch.AcceleratorError):
        several.load("twin")


def test_a_new_engine_begins_with_the_default_model_and_settings_of_the_first_stay_its_own(
    folders: dict[str, Path],
) -> None:
    several = SeveralModels(folders, default_model="sd", default_steps=7)
    [first] = several.pool.loaded
    assert (first.name, first.default_steps) == ("sd", 28)
    assert several.load("qwen") is None
    assert several.pool.loaded[-1].default_steps == 7


@pytest.mark.parametrize("default_model", ["broken", "owner/gone"])
def test_a_new_engine_begins_with_the_settings_model_where_the_default_one_is_gone(
    folders: dict[str, Path], default_model: str
) -> None:
    assert SeveralModels(folders, default_model=default_model).names == ["qwen"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owner/nowhere", "The files of owner/nowhere are not on the disk; POST /v1/models/load fetches them."),
        ("state", "state has no readable model_index.json"),
        ("unheard-of", "neither a folder nor an id"),
    ],
)
def test_what_is_not_a_model_is_said_in_one_sentence(several: SeveralModels, name: str, sentence: str) -> None:
    failure = several.load(name)
    assert failure is not None
    assert sentence in failure.sentence
    assert "\n" not in failure.sentence


@pytest.mark.parametrize(("name", "sentence"), [("sd", None), ("unheard-of", "neither a folder nor an id")])
def test_fetching_says_when_the_files_are_there_or_why_not(
    several: SeveralModels, name: str, sentence: str | None
) -> None:
    several.loads.fetch(FetchModel(job=3, name=name))
    [(answer, _)] = several.wait_for(ModelFetched)
    assert answer.job == 3
    assert (answer.failure is None) == (sentence is None)
    assert answer.failure is None or str(sentence) in answer.failure.sentence
    assert several.names == ["qwen"], "nothing is loaded yet"


def test_a_model_can_be_unloaded_but_not_while_it_generates(several: SeveralModels) -> None:
    several.add(1, of("qwen"))
    several.pool.step_scheduler.step()
    several.loads.unload(UnloadModel(job=1, name="qwen"))
    several.pool.step_scheduler.cancel(1)
    several.loads.unload(UnloadModel(job=2, name="qwen"))
    several.loads.unload(UnloadModel(job=3, name="qwen"))
    answers = [message for message, _ in several.of(ModelsLoaded)]
    assert [answer.failure.code if answer.failure else None for answer in answers] == ["busy", None, None]
    assert several.names == []
    assert several.load("qwen") is None


def test_an_unloaded_model_has_left_the_memory_when_unload_returns(several: SeveralModels) -> None:
    denoisers = [weakref.ref(each) for each in several.denoisers()]
    assert sum(cache.cache_info().currsize for cache in method_caches(QwenEmbedRope)) > 0
    several.pool.unload("qwen")
    assert [each() for each in denoisers].count(None) == 1
    assert sum(cache.cache_info().currsize for cache in method_caches(QwenEmbedRope)) == 0


def test_a_job_whose_model_has_just_left_is_told_so(several: SeveralModels) -> None:
    several.add(1, of("sd"))
    [(failure, _)] = several.of(Failed)
    assert failure.code == "engine_unavailable"
    assert failure.retry_after == 1


def test_a_model_is_measured_at_its_first_load_alone(several: SeveralModels, monkeypatch: pytest.MonkeyPatch) -> None:
    several.load("sd")
    first = several.pool.loaded[-1]
    several.pool.unload("sd")

    def measure(*_: Any) -> None:
        raise AssertionError("It was measured before.")

    monkeypatch.setattr(batch_limits, "measure", measure)
    assert several.load("sd") is None
    second = several.pool.loaded[-1]
    assert (second.device.batch_caps, second.revision) == (first.device.batch_caps, first.revision)


def test_a_model_whose_parts_are_spread_generates_the_same_from_text_and_from_an_image(
    folders: dict[str, Path],
) -> None:
    def images(memory: str) -> tuple[bytes, bytes]:
        several = SeveralModels(folders, memory=memory)
        [plain] = several.generate(of("qwen"))
        [changed] = several.generate((of("qwen", source=Source(strength=0.5, digest="x")), plain))
        return plain, changed

    assert images("device-map") == images("full")


def test_every_thread_that_computes_uses_the_second_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise pinned memory and some kernels open the first card too."""
    threads: list[str] = []
    monkeypatch.setattr(devices, "make_current", lambda device: threads.append(threading.current_thread().name))
    pool = ModelPool(Settings(_env_file=None, model="demo", device="cpu"), lambda *frame: None, silent)
    finished: Any = pool.step_scheduler._in_background(lambda: None)
    finished.result()
    assert threads == ["MainThread", "finish_0"]


@pytest.fixture
def cards(several: SeveralModels, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """Two cards that the pool has as its own."""
    Cards.patch(monkeypatch)
    cards = Cards()
    monkeypatch.setattr(several.pool, "group", cards.group)
    return cards


def test_a_model_whose_cards_fail_while_it_is_loaded_is_refused_and_the_others_stay(
    several: SeveralModels, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        cards.divide("twin")
        cards.fail_in_a_forward(RuntimeError("connection closed"))

    monkeypatch.setattr(model_pool, "load_and_warm_up", fail)
    failure = several.load("twin")
    assert failure is not None
    assert failure.sentence == (
        "twin cannot be spread over cuda:0 and cuda:1: card cuda:1: out of memory. A smaller MAX_PIXELS may fit."
    )
    assert several.names == ["qwen"]


def test_a_model_that_needs_cards_which_are_not_back_yet_is_refused_for_a_minute(
    several: SeveralModels, cards: Cards
) -> None:
    several.pool._settings = several.pool._settings.model_copy(update={"memory": "tensor-parallel"})
    cards.lose_one()
    failure = several.load("twin")
    assert failure is not None
    assert failure.sentence == "twin needs cuda:0 and cuda:1, which are being started again; ask again in a minute."
    assert (failure.code, failure.retry_after) == ("engine_unavailable", 60)
