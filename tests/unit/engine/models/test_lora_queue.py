"""Reading a LoRA's file stops nobody: a thread reads it, and the job or load that needs it goes on afterwards."""

import queue
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import QwenImagePipeline

from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.engine.downloads.missing_loras import MissingLoras
from imageserver.engine.models.lora_queue import LoraQueue, LorasRead
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder, open_folder
from imageserver.protocol.messages import Failed, Finished, LoraRequest, LorasLoaded, Run
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.fake_hub import FakeHub
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_loras import save_lora


class Waiting(TinyEngine):
    """An engine whose LoRAs are read by threads; `open` lets them go on."""

    def __init__(self, pipeline: QwenImagePipeline, path: Path) -> None:
        for seed, name in enumerate(("red", "blue")):
            save_lora(path, name, pipeline, seed=seed)
        self.digests = {name: LoraFolder(path).find(name).digest for name in ("red", "blue")}
        self.loras = LoraAdapters(pipeline, "transformer", LoraFolder(path))
        super().__init__(pipeline, adapters=self.loras)
        self.read: queue.SimpleQueue[LorasRead] = queue.SimpleQueue()
        self.open = threading.Event()
        pool: Any = SimpleNamespace(
            add=self.scheduler.add, step_scheduler=self.scheduler, adapters_of=lambda model: self.loras
        )
        self.queue = LoraQueue(pool, lambda *frame: self.sent.append(frame), self._wake, Settings(_env_file=None))

    def lora(self, name: str) -> Lora:
        return Lora(name=name, digest=self.digests.get(name, ""))

    def ask(self, job: int, *names: str, **fields: Any) -> None:
        loras = tuple(self.lora(name) for name in names)
        self.queue.add(Run(job=job, generation=generation(loras=loras, **fields)), b"")

    def receive(self) -> None:
        """Let a thread finish, and continue with what it has read."""
        self.open.set()
        self.queue.receive(self.read.get(timeout=60))

    def _wake(self, read: LorasRead) -> None:
        self.open.wait(60)
        self.read.put(read)


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
