"""LoRAs are placed between two steps, a few at a time, each at the expense of the job that named it."""

import queue
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import QwenImagePipeline

from imageserver.engine.batching import step_scheduler
from imageserver.engine.models.lora_queue import LoraQueue, LoraRead, LorasRead
from imageserver.engine.runner import lora_adapters
from imageserver.generation import Lora, Outcome
from imageserver.protocol.messages import Finished, LoraRequest, Run
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.waiting_loras import Waiting


@pytest.fixture
def waiting(pipeline: QwenImagePipeline, tmp_path: Path) -> Any:
    engine = Waiting(pipeline, tmp_path)
    yield engine
    for name in engine.loras.names:
        engine.loras.unload(name)
    engine.gate.remove()


def test_a_file_that_the_model_is_just_taking_is_not_read_again(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []
    read, install = lora_adapters.read_adapter, lora_adapters.install

    def watched(*arguments: Any) -> Any:
        readers.append(threading.current_thread().name)
        return read(*arguments)

    def asked_for_meanwhile(*arguments: Any) -> None:
        waiting.loras.read(waiting.lora("red"))
        install(*arguments)
        waiting.loras.read(waiting.lora("red"))

    monkeypatch.setattr(lora_adapters, "read_adapter", watched)
    monkeypatch.setattr(lora_adapters, "install", asked_for_meanwhile)
    waiting.ask(1, "red", steps=1)
    waiting.receive()
    assert (waiting.loras.names, readers) == (("red",), ["read-lora"])
    assert waiting.loras._read.get(waiting.digests["red"]) is None


def test_at_most_two_are_placed_between_two_steps_however_many_have_been_read(waiting: Waiting) -> None:
    waiting.save("green")
    waiting.ask(1, steps=2)
    for job, name in enumerate(("red", "blue", "green"), 2):
        waiting.ask(job, name, steps=1)
    waiting.open.set()
    for _ in range(3):
        waiting.queue.receive(waiting.read.get(timeout=60))
    assert waiting.loras.names == ()
    for placed in (2, 3):
        waiting.queue.place()
        assert len(waiting.loras.names) == placed
        assert waiting.queue.has_to_place == (placed == 2)
        waiting.step(1)
    for _ in range(3):
        waiting.receive()
    waiting.run()
    assert len([message for message, _ in waiting.sent if isinstance(message, Finished)]) == 4


def test_jobs_that_name_what_was_just_placed_wait_for_no_further_step(waiting: Waiting) -> None:
    jobs = range(2, 7)
    waiting.ask(1, steps=2)
    for job in jobs:
        waiting.ask(job, "red", steps=1)
    waiting.open.set()
    for _ in jobs:
        waiting.queue.receive(waiting.read.get(timeout=60))
    waiting.queue.place()
    assert (waiting.loras.names, waiting.queue.has_to_place) == (("red",), False)
    for _ in jobs:
        waiting.receive()
    waiting.run()
    assert len([message for message, _ in waiting.sent if isinstance(message, Finished)]) == 6


def test_what_has_been_read_keeps_no_model_in_memory() -> None:
    def adapters() -> Any:
        return type("Adapters", (), {"is_loaded": lambda *_: False, "read": lambda *_: None})()

    served, woken = [adapters()], queue.SimpleQueue[LoraRead | LorasRead]()
    pool: Any = SimpleNamespace(adapters_of=lambda model: served[0])
    loras, gone = LoraQueue(pool, lambda *_: None, woken.put, Settings(_env_file=None)), weakref.ref(served[0])
    loras.change(LoraRequest(job=1, load=Lora(name="red", digest="")))
    read = woken.get(timeout=60)
    served[0] = adapters()
    assert gone() is None
    loras.receive(read)
    loras.place()
    assert isinstance(woken.get(timeout=60), LorasRead)


class SlowPlacing:
    """Time that goes on only where a test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(round(time.monotonic()))
        monkeypatch.setattr(step_scheduler, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._install = lora_adapters.install
        monkeypatch.setattr(lora_adapters, "install", self._slowly)

    def _slowly(self, *arguments: Any) -> None:
        self.now += 40.0
        self._install(*arguments)


def outcome_of(engine: Waiting, job: int) -> Outcome:
    [(finished, _)] = engine.of(Finished, job)
    outcome: Outcome = finished.outcome
    return outcome


def test_the_device_time_of_a_lora_is_that_of_the_job_that_named_it_and_no_cost_of_its_images(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowPlacing(monkeypatch)
    waiting.ask(1, steps=3)
    waiting.step(1)
    waiting.ask(2, "red", "blue", steps=1)
    waiting.receive()
    waiting.run()
    assert (outcome_of(waiting, 1).device_time, outcome_of(waiting, 1).lora_time) == (0.0, 0.0)
    assert (outcome_of(waiting, 2).device_time, outcome_of(waiting, 2).lora_time) == (80.0, 80.0)
    assert waiting.scheduler.usage().busy == 80.0
    assert waiting.model.costs.seconds(64 * 64, batch=2) == 0.0


def test_one_that_is_loaded_again_at_the_begin_or_in_a_step_is_paid_by_its_own_job_too(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowPlacing(monkeypatch)
    for job, taken_off in enumerate((0, 1)):
        waiting.loras.load(waiting.lora("red"))
        waiting.ask(job, "red", steps=2)
        waiting.step(taken_off)
        waiting.loras.unload("red")
        waiting.run()
        assert (outcome_of(waiting, job).device_time, outcome_of(waiting, job).lora_time) == (40.0, 40.0)
    assert waiting.model.costs.seconds(64 * 64, batch=2) == 0.0


def test_whoever_had_a_lora_placed_lets_others_go_first_afterwards(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowPlacing(monkeypatch)
    named = generation(loras=(waiting.lora("red"),), steps=1)
    waiting.queue.add(Run(job=1, generation=named, credential="anna"), b"")
    waiting.receive()
    for job in (2, 3):
        waiting.scheduler.add(Run(job=job, generation=generation(steps=4), credential="berta"))
    waiting.run()
    assert [message.job for message, _ in waiting.sent if isinstance(message, Finished)] == [2, 3, 1]
