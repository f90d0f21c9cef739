"""Reading a LoRA's file stops nobody: a thread reads it, and the job or load that needs it goes on afterwards."""

import queue
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from diffusers import QwenImagePipeline

from imageserver.api.inputs.loras import MAX_STACKED_LORAS
from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.engine.downloads.missing_loras import MissingLoras
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tensor_file import TensorFile
from imageserver.engine.models.lora_queue import LoraRead
from imageserver.engine.runner import lora_adapters
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.lora_memory import LoraMemory
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder, open_folder
from imageserver.protocol.messages import Failed, Finished, LoraRequest, LorasLoaded, Run
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.fake_hub import FakeHub
from tests.support.waiting_loras import Waiting


@pytest.fixture
def waiting(pipeline: QwenImagePipeline, tmp_path: Path) -> Any:
    engine = Waiting(pipeline, tmp_path)
    yield engine
    for name in engine.loras.names:
        engine.loras.unload(name)
    engine.gate.remove()


def test_the_image_under_way_continues_while_a_file_is_read(waiting: Waiting) -> None:
    waiting.ask(1, steps=9)
    waiting.ask(2, "red", steps=2)
    waiting.step(4)
    assert len(waiting.batches) == 4
    assert waiting.loras.names == ()
    waiting.receive()
    waiting.run()
    assert [message.job for message, _ in waiting.sent if isinstance(message, Finished)] == [2, 1]


def test_the_step_thread_reads_no_whole_file_itself(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []
    read = waiting.loras._folder.find

    def watched(name: str) -> Any:
        if not waiting.loras._folder._read:
            readers.append(threading.current_thread())
        return read(name)

    monkeypatch.setattr(waiting.loras._folder, "find", watched)
    waiting.ask(1, "red", steps=1)
    waiting.receive()
    waiting.run()
    assert [reader.name for reader in readers] == ["read-lora"]


def test_no_file_of_a_request_is_read_by_the_step_thread_however_many_it_names(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []
    read = lora_adapters.read_adapter

    def watched(*arguments: Any) -> Any:
        readers.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(lora_adapters, "read_adapter", watched)
    names = [f"{number}" for number in range(MAX_STACKED_LORAS)]
    waiting.save(*names)
    waiting.ask(1, *names, steps=1)
    waiting.receive()
    waiting.run()
    assert waiting.result(1).shape == (64, 64, 3)
    assert readers == MAX_STACKED_LORAS * ["read-lora"]
    assert waiting.loras._read._waiting == {}


def test_a_request_whose_loras_need_more_memory_together_than_there_is_reads_each_when_the_one_before_is_in_the_model(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, ...]] = []
    checked = TensorFile.checked

    def watched(file: TensorFile) -> TensorFile:
        loaded.append(waiting.loras.names)
        return checked(file)

    monkeypatch.setattr(TensorFile, "checked", watched)
    waiting.queue._memory = LoraMemory(1)
    waiting.ask(1, "red", "blue", steps=1)
    waiting.receive()
    waiting.run()
    assert waiting.result(1).shape == (64, 64, 3)
    assert loaded == [(), ("red",)]
    assert waiting.queue._memory._free == 1


def test_the_memory_of_what_has_been_read_is_held_until_the_model_has_it(waiting: Waiting) -> None:
    memory = waiting.queue._memory = LoraMemory(1)
    waiting.open.set()
    waiting.ask(1, "red", steps=1)
    read = waiting.read.get(timeout=60)
    assert (isinstance(read, LoraRead), memory._free) == (True, 0)
    waiting.queue.receive(read)
    waiting.receive()
    assert (memory._free, waiting.loras.names) == (1, ("red",))


def test_jobs_that_name_the_same_file_at_the_same_time_read_it_once(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = queue.SimpleQueue[None](), threading.Event()
    read = lora_adapters.read_adapter

    def watched(*arguments: Any) -> Any:
        begun.put(None)
        end.wait(60)
        return read(*arguments)

    monkeypatch.setattr(lora_adapters, "read_adapter", watched)
    waiting.ask(1, "red", steps=1)
    begun.get(timeout=60)
    waiting.ask(2, "red", steps=1)
    end.set()
    for _ in range(2):
        waiting.receive()
    waiting.run()
    assert waiting.loras.names == ("red",)
    assert begun.empty()
    assert waiting.loras._read.get(waiting.digests["red"]) is None


def test_files_that_do_not_fit_into_the_memory_together_are_read_one_after_the_other(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = queue.SimpleQueue[None](), threading.Event()
    checked = TensorFile.checked

    def watched(file: TensorFile) -> TensorFile:
        begun.put(None)
        assert end.wait(60)
        return checked(file)

    monkeypatch.setattr(TensorFile, "checked", watched)
    memory = waiting.queue._memory = LoraMemory(1)
    for job, name in enumerate(("red", "blue")):
        waiting.ask(job, name, steps=1)
    begun.get(timeout=60)
    deadline = time.monotonic() + 60
    while not memory._waiting:
        assert time.monotonic() < deadline, "the second file does not wait"
        time.sleep(0.001)
    assert begun.empty()
    end.set()
    for _ in range(2):
        waiting.receive()
    waiting.run()
    assert waiting.loras.names == ("blue", "red")


def test_a_refused_file_is_read_once_and_never_by_the_step_thread(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []

    def refuse(*_: Any) -> Any:
        readers.append(threading.current_thread().name)
        raise LoraRefused("does not fit the model")

    monkeypatch.setattr(lora_adapters, "read_adapter", refuse)
    for job in (1, 2):
        waiting.ask(job, "red", steps=1)
        waiting.receive()
        waiting.run()
        assert waiting.result(job).sentence == "loras: red does not fit the model."
    assert readers == ["read-lora"]


def test_what_is_loaded_waits_for_no_file(waiting: Waiting) -> None:
    waiting.loras.load(waiting.lora("red"))
    waiting.ask(1, "red", steps=1)
    assert waiting.scheduler.busy
    waiting.run()


def test_a_job_that_waits_for_its_file_can_be_cancelled(waiting: Waiting) -> None:
    waiting.ask(1, "red")
    waiting.queue.cancel(1)
    waiting.receive()
    assert not waiting.scheduler.busy
    [(failure, _)] = waiting.of(Failed, 1)
    assert failure.code == "cancelled"


def test_a_job_that_is_cancelled_reads_no_further_file_and_leaves_nothing_in_memory(waiting: Waiting) -> None:
    waiting.ask(1, "red", "blue")
    waiting.open.set()
    read = waiting.read.get(timeout=60)
    waiting.queue.cancel(1)
    waiting.queue.receive(read)
    waiting.receive()
    assert waiting.loras.names == ("red",)
    assert waiting.loras._read._waiting == {}


def test_a_file_that_is_replaced_after_it_was_read_is_refused_and_leaves_nothing_in_memory(waiting: Waiting) -> None:
    waiting.ask(1, "red")
    waiting.open.set()
    read = waiting.read.get(timeout=60)
    asked = waiting.digests["red"]
    waiting.save("red")
    assert waiting.digests["red"] != asked
    waiting.queue.receive(read)
    waiting.receive()
    assert waiting.result(1).sentence == "loras: red has just been replaced; send the request again."
    assert waiting.loras._read._waiting == {}


def test_what_was_read_for_a_model_that_is_gone_is_not_given_to_the_next_one(waiting: Waiting) -> None:
    waiting.ask(1, "red", steps=1)
    waiting.open.set()
    read = waiting.read.get(timeout=60)
    gone, waiting.loras = waiting.loras, LoraAdapters(waiting.pipeline, "transformer", waiting.loras._folder)
    waiting.queue.receive(read)
    assert (gone.names, waiting.loras.names) == ((), ())
    waiting.loras = gone
    waiting.receive()


def test_a_load_that_fails_is_answered_as_a_load(waiting: Waiting, tmp_path: Path) -> None:
    (tmp_path / "red.safetensors").unlink()
    waiting.queue.change(LoraRequest(job=1, load=waiting.lora("red")))
    waiting.receive()
    [(answer, _)] = waiting.of(LorasLoaded, 1)
    assert "'red' is not in LORA_DIR" in answer.failure.sentence


def test_a_file_that_is_gone_is_said_to_whoever_needs_it(waiting: Waiting, tmp_path: Path) -> None:
    (tmp_path / "red.safetensors").unlink()
    waiting.ask(1, "red")
    waiting.receive()
    waiting.run()
    assert "'red' is not in LORA_DIR" in waiting.result(1).sentence


def test_an_error_that_nobody_foresaw_lets_no_job_wait_for_ever(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(lora: Lora) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(waiting.loras, "read", broken)
    waiting.ask(1, "red", steps=1)
    waiting.receive()
    waiting.run()
    assert "A LoRA of job 1 cannot be read." in caplog.text
    assert waiting.result(1).shape == (64, 64, 3)


def test_a_load_is_answered_when_it_is_done_and_an_unload_at_once(waiting: Waiting) -> None:
    waiting.queue.change(LoraRequest(job=1, load=waiting.lora("red")))
    assert waiting.of(LorasLoaded, 1) == []
    waiting.receive()
    [(loaded, _)] = waiting.of(LorasLoaded, 1)
    assert loaded.names == ("red",)
    waiting.queue.change(LoraRequest(job=2, unload="red"))
    [(unloaded, _)] = waiting.of(LorasLoaded, 2)
    assert unloaded.names == ()


def test_two_jobs_with_different_loras_switch_them_once_each(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("red", "blue"):
        waiting.loras.load(waiting.lora(name))
    switched: list[Any] = []
    switch = waiting.pipeline.set_adapters

    def watched(names: Any, *scales: Any) -> None:
        switched.append(names)
        switch(names, *scales)

    monkeypatch.setattr(waiting.pipeline, "set_adapters", watched)
    for job, name in enumerate(("red", "blue")):
        waiting.ask(job, name, steps=8, true_cfg_scale=1.0)
    waiting.run()
    assert (len(switched), len(waiting.batches)) == (2, 16)


def test_one_that_another_machine_has_fetched_is_fetched_by_the_job_that_needs_it(
    waiting: Waiting, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()
    content = (tmp_path / "red.safetensors").read_bytes()
    (tmp_path / "hub" / "ink.safetensors").write_bytes(content)
    there = Settings(_env_file=None, lora_dir=tmp_path, models_dir=tmp_path / "models", model_source="huggingface")
    hub = FakeHub(tmp_path / "hub", "anna/styles")
    with hub.open() as url:
        other = there.model_copy(update={"hf_endpoint": url, "lora_dir": tmp_path / "other"})
        fetch_lora("anna/styles", other, lambda phase, sentence, fraction: None)
        file = open_folder(other).find("anna/styles")
        lora = Lora(name=file.name, digest=file.digest, hub_id=file.hub_id)
        for job, offline in enumerate((True, False)):
            here = there.model_copy(update={"hf_endpoint": url, "offline": offline})
            waiting.queue._absent = MissingLoras(here)
            waiting.queue.add(Run(job=job, generation=generation(loras=(lora,), steps=1)), b"")
            waiting.receive()
            waiting.run()
    assert "is not in LORA_DIR" in waiting.result(0).sentence
    assert waiting.result(1).shape == (64, 64, 3)
    assert waiting.loras.names == ("anna/styles/ink",)
    assert open_folder(other).find("anna/styles/ink").hub_id == "anna/styles:ink"
    assert LoraFolder(tmp_path).find("red").hub_id == "", "what the owner has put there is asked of no hub"


def test_one_on_a_hub_is_fetched_beside_the_images_and_what_fails_is_said(waiting: Waiting, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "ink.safetensors").write_bytes(b"ink")
    hub = FakeHub(tmp_path / "hub", "anna/styles")
    with hub.open() as url:
        waiting.queue._settings = Settings(
            _env_file=None, hf_endpoint=url, model_source="huggingface", models_dir=tmp_path / "models",
            lora_dir=tmp_path / "mine",
        )  # fmt: skip
        for job, name in enumerate(("anna/styles", "anna/absent")):
            waiting.queue.change(LoraRequest(job=job, fetch=name))
        deadline = time.monotonic() + 60
        while len(waiting.sent) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    [(fetched, _)], [(failed, _)] = waiting.of(LorasLoaded, 0), waiting.of(LorasLoaded, 1)
    assert fetched.failure is None
    assert (tmp_path / "mine" / "anna" / "styles" / "ink.safetensors").read_bytes() == b"ink"
    assert "loras: anna/absent could not be fetched from Hugging Face" in failed.failure.sentence
