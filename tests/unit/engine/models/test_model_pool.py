"""Several models in one engine: side by side where they fit, one for another where they do not."""

import gc
import queue
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel

from imageserver.engine.devices import batch_limits, devices, memory_plans
from imageserver.engine.models import model_pool
from imageserver.engine.models.load_queue import LoadQueue, ModelSearch
from imageserver.engine.models.model_pool import ModelPool, open_model_pool
from imageserver.generation import Source
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    Finished,
    LoadModel,
    Message,
    ModelFetched,
    ModelsLoaded,
    Run,
    UnloadModel,
)
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_models import save_tiny_qwen_image, tiny_stable_diffusion

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


class Shop:
    """A workshop that begins with `qwen`, and everything that it sends."""

    def __init__(self, folders: dict[str, Path], *, chosen: str = "", **changes: Any) -> None:
        self.sent: list[tuple[Message, bytes]] = []
        names = folders["state"].parent / "names.toml"
        names.write_text("\n".join(f"[{name}]\nsource = '{path}'" for name, path in folders.items()))
        settings = Settings(
            _env_file=None, model="qwen", models_file=names, device="cpu", state_dir=folders["state"],
            max_pixels=256 * 256, **changes,
        )  # fmt: skip
        self.pool: ModelPool = open_model_pool(settings, self.report, self.send, default_model=chosen)
        self.searches: queue.SimpleQueue[ModelSearch] = queue.SimpleQueue()
        self.reports: list[str] = []
        self.loads = LoadQueue(self.pool, self.send, self.report, self.searches.put)

    def report(self, phase: str, sentence: str, fraction: float | None, job: int = 0) -> None:
        if hasattr(self, "reports"):
            self.reports.append(phase)

    def send(self, message: Message, raw: bytes = b"") -> None:
        self.sent.append((message, raw))

    def of(self, kind: type[Message]) -> list[bytes]:
        """Return what came with the messages of one kind."""
        return [raw for message, raw in list(self.sent) if isinstance(message, kind)]

    @property
    def names(self) -> list[str]:
        return [facts.name for facts in self.pool.loaded]

    def find(self, name: str) -> None:
        """Let a model be looked for, and go on when it is found."""
        self.loads.load(LoadModel(job=7, name=name))
        self.loads.receive(self.searches.get(timeout=60))

    def load(self, name: str) -> Failed | None:
        """Load a model and return why it was not."""
        self.find(name)
        [answer] = [message for message, _ in self.sent if isinstance(message, ModelsLoaded)]
        self.sent.clear()
        assert [facts.name for facts in answer.models] == self.names
        return answer.failure

    def begin(self, job: int, **wanted: Any) -> None:
        self.pool.add(Run(job=job, generation=generation(**wanted)), b"")

    def generate(self, *models: str, **wanted: Any) -> dict[int, bytes]:
        """Generate one image with each model, together, and return their pixels."""
        self.sent.clear()
        for job, model in enumerate(models):
            self.begin(job, model=model, **wanted)
        while self.pool.step_scheduler.busy:
            self.pool.step_scheduler.step()
        # Another thread turns them into bytes.
        images: dict[int, bytes] = {}
        while len(images) < len(models):
            images = {message.job: raw for message, raw in list(self.sent) if isinstance(message, Finished)}
        self.sent.clear()
        return images


@pytest.fixture
def shop(folders: dict[str, Path]) -> Shop:
    """A workshop with one model and room for others."""
    return Shop(folders)


def test_two_models_stay_side_by_side_and_take_turns(shop: Shop) -> None:
    alone = shop.generate("qwen", deterministic=True)[0]
    assert shop.load("sd") is None
    assert shop.names == ["qwen", "sd"]
    sd_alone = shop.generate("sd", deterministic=True)[0]
    together = shop.generate("qwen", "sd", deterministic=True)
    assert together == {0: alone, 1: sd_alone}


def test_images_of_different_models_never_share_a_forward(shop: Shop) -> None:
    assert shop.load("twin") is None
    shop.begin(1, model="qwen")
    shop.begin(2, model="twin")
    while shop.pool.step_scheduler.busy:
        shop.pool.step_scheduler.step()
    turns = shop.pool.step_scheduler
    assert turns.calls == turns.forwards == 16, "2 images x 4 steps x 2 passes, though all are of one size"


def test_a_short_job_of_another_model_overtakes_a_long_one(shop: Shop) -> None:
    assert shop.load("sd") is None
    shop.begin(1, model="qwen", steps=40)
    for _ in range(3):
        shop.pool.step_scheduler.step()
    shop.begin(2, model="sd", steps=2)
    ended = []
    while shop.pool.step_scheduler.busy:
        shop.pool.step_scheduler.step()
        ended += [job for job in (1, 2) if job not in ended and job not in shop.pool.step_scheduler._jobs]
    assert ended == [2, 1]


def test_without_room_what_was_used_least_recently_leaves_and_its_memory_is_freed(folders: dict[str, Path]) -> None:
    shop = Shop(folders, max_loaded_models=2)
    assert shop.load("twin") is None
    shop.generate("qwen")
    gone = weakref.ref(shop.pool._models["twin"].runner._own.transformer)  # type: ignore[attr-defined]
    assert shop.load("sd") is None
    assert shop.names == ["qwen", "sd"]
    assert gone() is None


def test_a_model_that_is_generated_with_is_waited_for(folders: dict[str, Path]) -> None:
    shop = Shop(folders, max_loaded_models=1)
    shop.begin(1, model="qwen", steps=3)
    shop.find("sd")
    assert shop.names == ["qwen"]
    assert shop.reports[-1] == "waiting"
    while shop.pool.step_scheduler.busy:
        assert shop.names == ["qwen"]
        shop.pool.step_scheduler.step()
        shop.loads.load_waiting()
    assert shop.names == ["sd"]


def test_memory_decides_where_no_number_does(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held = shop.pool._models

    def free_memory(device: object) -> int:
        return GIB if len(held) < 2 else 1000

    monkeypatch.setattr(devices, "free_memory", free_memory)
    assert shop.load("twin") is None
    assert shop.load("sd") is None
    assert shop.names == ["twin", "sd"]


def test_a_model_that_would_not_fit_even_alone_drives_nothing_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    monkeypatch.setattr(model_pool.devices, "MIB", 1)
    failure = shop.load("sd")
    assert failure is not None
    assert (failure.code, failure.param) == ("model_unloadable", "model")
    assert "needs about" in failure.sentence
    assert shop.names == ["qwen"]


def test_a_broken_model_leaves_the_others_and_its_folder_unsaid(shop: Shop, folders: dict[str, Path]) -> None:
    before = shop.generate("qwen")
    failure = shop.load("broken")
    assert failure is not None
    assert failure.sentence.startswith("broken cannot be loaded: ")
    assert str(folders["broken"]) not in failure.sentence
    assert shop.names == ["qwen"]
    assert shop.generate("qwen") == before


def _names_a_class_that_is_not_there(folder: Path, _: pytest.MonkeyPatch) -> None:
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("UNet2DConditionModel", "UNet9DConditionModel"))


def _fills_the_device(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def move_to_device(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(memory_plans, "move_to_device", move_to_device)


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
        (_fills_the_device, "CUDA out of memory. Tried to allocate 2 GiB."),
        (_needs_a_package, "spoilt cannot be loaded: ImportError: T5Tokenizer requires the sentencepiece library."),
        (_says_nothing, "spoilt cannot be loaded: AssertionError: AssertionError"),
    ],
)
def test_whatever_goes_wrong_over_a_model_ends_no_engine(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, sentence: str
) -> None:
    shop = Shop(folders | {"spoilt": tmp_path / "spoilt"})
    before = shop.generate("qwen")
    tiny_stable_diffusion().save_pretrained(tmp_path / "spoilt")
    spoil(tmp_path / "spoilt", monkeypatch)
    failure = shop.load("spoilt")
    assert failure is not None
    assert (failure.code, failure.param) == ("model_unloadable", "model")
    assert sentence in failure.sentence
    assert str(tmp_path) not in failure.sentence
    assert shop.names == ["qwen"]
    monkeypatch.undo()
    assert shop.generate("qwen") == before


def test_a_new_engine_begins_with_the_chosen_model_and_settings_of_the_first_stay_its_own(
    folders: dict[str, Path],
) -> None:
    shop = Shop(folders, chosen="sd", default_steps=7)
    [chosen] = shop.pool.loaded
    assert (chosen.name, chosen.default_steps) == ("sd", 28)
    assert shop.load("qwen") is None
    assert shop.pool.loaded[-1].default_steps == 7


@pytest.mark.parametrize("chosen", ["broken", "owner/gone"])
def test_a_new_engine_begins_with_the_first_model_where_the_chosen_one_is_gone(
    folders: dict[str, Path], chosen: str
) -> None:
    assert Shop(folders, chosen=chosen).names == ["qwen"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owner/nowhere", "The files of owner/nowhere are not on the disk; POST /v1/models/load fetches them."),
        ("state", "state has no readable model_index.json"),
        ("unheard-of", "neither a folder nor an id"),
    ],
)
def test_what_is_no_model_is_said_in_one_sentence(shop: Shop, name: str, sentence: str) -> None:
    failure = shop.load(name)
    assert failure is not None
    assert sentence in failure.sentence
    assert "\n" not in failure.sentence


@pytest.mark.parametrize(("name", "sentence"), [("sd", None), ("unheard-of", "neither a folder nor an id")])
def test_fetching_says_when_the_files_are_there_or_why_not(shop: Shop, name: str, sentence: str | None) -> None:
    shop.loads.fetch(FetchModel(job=3, name=name))
    while not shop.of(ModelFetched):
        pass
    [(answer, _)] = shop.sent
    assert isinstance(answer, ModelFetched)
    assert answer.job == 3
    assert (answer.failure is None) == (sentence is None)
    assert answer.failure is None or str(sentence) in answer.failure.sentence
    assert shop.names == ["qwen"], "nothing is loaded yet"


def test_a_model_can_be_unloaded_but_not_while_it_generates(shop: Shop) -> None:
    shop.begin(1, model="qwen")
    shop.pool.step_scheduler.step()
    shop.loads.unload(UnloadModel(job=1, name="qwen"))
    shop.pool.step_scheduler.cancel(1)
    shop.loads.unload(UnloadModel(job=2, name="qwen"))
    shop.loads.unload(UnloadModel(job=3, name="qwen"))
    answers = [message for message, _ in shop.sent if isinstance(message, ModelsLoaded)]
    assert [answer.failure.code if answer.failure else None for answer in answers] == ["busy", None, None]
    assert shop.names == []
    shop.sent.clear()
    assert shop.load("qwen") is None


def test_an_unloaded_model_has_left_the_memory_when_unload_returns(shop: Shop) -> None:
    gc.collect()
    # By the exact type: asking every object for its class wakes libraries' deprecations.
    denoisers = [weakref.ref(each) for each in gc.get_objects() if type(each) is QwenImageTransformer2DModel]
    shop.pool.unload("qwen")
    assert [each() for each in denoisers].count(None) == 1


def test_a_job_whose_model_has_just_left_is_told_so(shop: Shop) -> None:
    shop.begin(1, model="sd")
    [failure] = [message for message, _ in shop.sent if isinstance(message, Failed)]
    assert failure.code == "engine_unavailable"
    assert failure.retry_after == 1


def test_a_model_is_measured_at_its_first_load_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.load("sd")
    first = shop.pool.loaded[-1]
    shop.pool.unload("sd")

    def measure(*_: Any) -> dict[int, int]:
        raise AssertionError("It was measured before.")

    monkeypatch.setattr(batch_limits, "measure", measure)
    assert shop.load("sd") is None
    second = shop.pool.loaded[-1]
    assert (second.device.batch_caps, second.revision) == (first.device.batch_caps, first.revision)


def test_a_model_whose_parts_are_spread_generates_the_same_from_text_and_from_a_image(folders: dict[str, Path]) -> None:
    def generate(memory: str) -> tuple[bytes, bytes]:
        shop = Shop(folders, memory=memory)
        plain = shop.generate("qwen", deterministic=True)[0]
        wanted = generation(model="qwen", deterministic=True, source=Source(strength=0.5, digest="x"))
        shop.pool.add(Run(job=0, generation=wanted), plain)
        while shop.pool.step_scheduler.busy:
            shop.pool.step_scheduler.step()
        while not shop.of(Finished):
            pass
        return plain, shop.of(Finished)[0]

    assert generate("device-map") == generate("full")
