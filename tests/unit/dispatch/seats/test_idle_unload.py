"""An engine that nobody needs for IDLE_UNLOAD seconds ends, and the next request starts it and waits."""

import asyncio
import dataclasses
from unittest.mock import AsyncMock

import pytest

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.seat import Seat
from imageserver.generation import Lora, ModelInfo, Outcome
from imageserver.protocol.messages import (
    Estimate,
    EstimateRequest,
    Finished,
    LoadFailed,
    LoadProgress,
    LoraRequest,
    LorasLoaded,
    ModelRequest,
    ModelResponse,
    ModelsLoaded,
    Ready,
    Submit,
)
from imageserver.settings import Settings
from tests.support.dispatch_harness import INFO, Recorder
from tests.support.factories import generation
from tests.support.scripted_engine import ADDRESS, CONFIG, ScriptedPeer, ScriptedProcess

SECONDS = 100.0
OUTCOME = Outcome(
    width=64, height=64, seeds=(0,), inference_time=1.0, queue_time=0.0, batch_size=1, device_time=1.0
)  # fmt: skip


class IdleServer:
    """A dispatcher with the real supervision of scripted processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes = [ScriptedProcess() for _ in range(4)]
        monkeypatch.setattr(asyncio, "create_subprocess_exec", AsyncMock(side_effect=self.processes))
        settings = Settings(
            _env_file=None, idle_unload=SECONDS, step_timeout=SECONDS * 100, load_stall_timeout=SECONDS * 100
        )
        self.engine = EngineProcess(settings, ADDRESS, CONFIG)
        self.seat = Seat(CONFIG.name, self.engine)
        self.dispatcher = Dispatcher(settings)
        self.worker = Recorder()
        self.dispatcher.join(self.worker)
        self.dispatcher.start()
        self.dispatcher.open_seat(self.seat)

    async def connect(self, *messages):
        """Let the process that has just been started report this, by default that its model is loaded."""
        await asyncio.sleep(1)
        peer = ScriptedPeer(*(messages or [Ready(info=INFO)]))
        self.connection = asyncio.create_task(self.engine.attach(peer))
        await asyncio.sleep(1)
        return peer

    def submit(self, job):
        self.dispatcher.submit(Submit(job=job, generation=generation(), timeout=600.0), self.worker)

    @property
    def told(self):
        """The state that workers know: its word, whether the model is known, and which models are in memory."""
        snapshot = self.worker.snapshots[-1]
        return snapshot.state, snapshot.info is not None, snapshot.loaded

    @property
    def ended(self):
        """How many engines have been ended."""
        return sum(process.killed.is_set() for process in self.processes)


@pytest.fixture
def server(virtual_time, monkeypatch):
    """One whose engine has just loaded its model."""

    async def create():
        server = IdleServer(monkeypatch)
        await server.connect()
        return server

    server = virtual_time.run(create())
    yield server
    virtual_time.run(server.dispatcher.stop())


async def test_an_engine_that_nobody_needs_ends_and_the_server_stays_ready(server):
    await asyncio.sleep(SECONDS - 5)
    assert server.told == ("healthy", True, ("scripted",))
    await asyncio.sleep(10)
    assert server.ended == 1
    assert server.told == ("healthy", True, ())
    snapshot = server.worker.snapshots[-1]
    assert snapshot.reason == "The engine has ended after 100 s without a request; the next one starts it."
    assert (snapshot.engine_pid, snapshot.idle_unloads, snapshot.engine_restarts) == (None, 1, 0)
    await asyncio.sleep(SECONDS * 5)
    assert asyncio.create_subprocess_exec.call_count == 1, "nobody needs another one"


async def test_the_end_of_a_process_that_takes_its_time_is_told_too(server):
    process = server.processes[0]
    process.terminate = lambda: asyncio.get_running_loop().call_later(1.0, process.killed.set)
    await asyncio.sleep(SECONDS + 5)
    assert server.worker.snapshots[-1].engine_pid is None


async def test_the_next_request_starts_it_and_waits(server):
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    peer = await server.connect()
    assert server.told == ("healthy", True, ("scripted",))
    [run] = peer.received
    assert (run.job, run.generation.model) == (1, "scripted")
    assert server.engine.restarts == 0, "it did not die"


async def test_the_server_stays_ready_while_the_next_engine_loads(server):
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    await server.connect(LoadProgress(phase="loading", sentence="It is loading.", fraction=0.5))
    snapshot = server.worker.snapshots[-1]
    assert (snapshot.state, snapshot.reason, snapshot.model_loaded) == ("healthy", "It is loading.", False)


async def test_jobs_that_run_or_wait_keep_it(server):
    server.submit(1)
    await asyncio.sleep(SECONDS * 3)
    assert server.ended == 0
    server.dispatcher.cancel(1)
    await asyncio.sleep(SECONDS * 3)
    assert server.ended == 0, "the engine still works on it"


async def test_a_model_that_is_being_loaded_keeps_it(server):
    server.dispatcher.request_model(ModelRequest(job=1, load="other"), server.worker)
    await asyncio.sleep(SECONDS * 3)
    assert server.ended == 0


async def test_one_that_loads_for_longer_than_that_is_not_ended(virtual_time, monkeypatch):
    server = IdleServer(monkeypatch)
    await asyncio.sleep(SECONDS * 3)
    assert server.ended == 0
    await server.connect()
    await asyncio.sleep(SECONDS - 5)
    assert server.ended == 0
    await server.dispatcher.stop()


async def test_a_model_that_a_client_loads_starts_it_and_is_answered(server):
    await asyncio.sleep(SECONDS + 5)
    server.dispatcher.request_model(ModelRequest(job=1, load="scripted"), server.worker)
    server.dispatcher.request_model(ModelRequest(job=2, load="other"), server.worker)
    peer = await server.connect()
    assert [answer.job for answer in server.worker.responses] == [1]
    [load] = peer.received
    assert load.name == "other"
    server.dispatcher.model_event(server.seat, ModelsLoaded(job=load.job, models=(INFO, ModelInfo(name="other"))))
    assert isinstance(server.worker.responses[1], ModelResponse)


async def test_what_frees_memory_or_only_asks_starts_nothing(server):
    await asyncio.sleep(SECONDS + 5)
    server.dispatcher.request_model(ModelRequest(job=1, unload="scripted"), server.worker)
    server.dispatcher.request_loras(LoraRequest(job=2), server.worker)
    server.dispatcher.request_loras(LoraRequest(job=3, unload="red"), server.worker)
    server.dispatcher.estimate(EstimateRequest(job=4, generation=generation()), server.worker)
    assert [answer.info.name for answer in server.worker.responses] == ["scripted"]
    assert server.worker.of(2) == server.worker.of(3) == ["LorasLoaded"]
    assert server.worker.of(4) == ["Estimate"]
    await asyncio.sleep(5)
    assert asyncio.create_subprocess_exec.call_count == 1


async def test_what_only_asks_is_answered_too_while_the_next_engine_starts(server):
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    server.dispatcher.request_loras(LoraRequest(job=2), server.worker)
    server.dispatcher.request_loras(LoraRequest(job=3, unload="red"), server.worker)
    assert server.worker.of(2) == server.worker.of(3) == ["LorasLoaded"]


async def test_the_time_that_the_next_load_takes_counts_in_every_estimate(virtual_time, monkeypatch):
    server = IdleServer(monkeypatch)
    await server.connect(Ready(info=dataclasses.replace(INFO, load_time=30.0)))
    server.submit(1)
    server.dispatcher.job_event(server.seat, Finished(job=1, outcome=OUTCOME), b"")
    await asyncio.sleep(SECONDS + 5)
    server.dispatcher.estimate(EstimateRequest(job=2, generation=generation()), server.worker)
    [estimate] = [message for message in server.worker.messages if isinstance(message, Estimate)]
    assert (estimate.wait, estimate.own) == (30.0, 1.0)
    hasty = Submit(job=3, generation=generation(), timeout=600.0, client_timeout=10.0)
    server.dispatcher.submit(hasty, server.worker)
    assert server.worker.of(3) == ["would_time_out"]
    patient = Submit(job=4, generation=generation(), timeout=600.0, client_timeout=60.0)
    server.dispatcher.submit(patient, server.worker)
    assert server.worker.of(4) == []
    await server.dispatcher.stop()


async def test_a_lora_that_is_loaded_counts_as_use(server):
    await asyncio.sleep(SECONDS - 5)
    server.dispatcher.request_loras(LoraRequest(job=1, load=Lora(name="red", digest="")), server.worker)
    server.engine._receive(LorasLoaded(job=1, names=("red",)), b"")
    await asyncio.sleep(SECONDS - 5)
    assert server.ended == 0


async def test_a_model_that_cannot_be_loaded_again_fails_its_requests_and_the_next_one_tries_again(server):
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    await server.connect(LoadFailed(sentence="Another program holds the memory."))
    assert server.worker.of(1) == ["engine_unavailable"]
    assert server.told == ("healthy", True, ())
    server.processes[1].kill()
    await server.connection
    server.submit(2)
    peer = await server.connect()
    assert [message.job for message in peer.received] == [2]


async def test_a_far_engine_that_wakes_without_its_model_has_failed_and_leaves_its_seat_to_another_machine(server):
    server.engine._config = dataclasses.replace(CONFIG, is_far=True)
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    await server.connect(LoadFailed(sentence="The card is broken."))
    assert server.worker.of(1) == ["engine_unavailable"]
    assert (server.engine.state, server.engine.is_resting) == ("failed", False)
    assert server.told == ("degraded", False, ())


async def test_an_engine_that_dies_while_it_wakes_is_replaced_like_any_other(server):
    await asyncio.sleep(SECONDS + 5)
    server.submit(1)
    await asyncio.sleep(1)
    server.processes[1].kill()
    await asyncio.sleep(0.1)
    assert server.told == ("degraded", False, ())
    await server.connect()
    assert server.told == ("healthy", True, ("scripted",))
    assert server.engine.restarts == 1


async def test_without_the_setting_it_stays_for_ever(harness):
    await asyncio.wait_for(harness.dispatcher._idle.watch(), 1)
