"""A model is read from the disk of each machine: one that lacks it fetches it, while others generate with it."""

import pytest

from imageserver.dispatch.seats.seat import OFFERED, Seat
from imageserver.protocol.messages import Failed, FetchModel, LoadModel, LoraRequest, LorasLoaded, ModelFetched
from tests.support.dispatch_harness import Harness, Recorder, ScriptedEngine

ABSENT = Failed(job=0, code="model_unloadable", sentence="Its files are not on the disk.", param="model")
FETCH = LoraRequest(job=9, fetch="somebody/style")


class TwoMachines(Harness):
    """An engine here with two models, and one on another machine that could not load the second of them."""

    def __init__(self) -> None:
        super().__init__()
        self.load("scripted", "large")
        self.far = ScriptedEngine(room=1)
        self.far.machine = "10.0.0.7 cpu"
        self.far_seat = Seat("machine 1", self.far, OFFERED)  # type: ignore[arg-type]
        self.seats.append(self.far_seat)
        self.engines.append(self.far)
        self.dispatcher.seats.add(self.far_seat)
        self.load("scripted", seat=self.far_seat)
        self.submit(1, 2, model="large")
        self.refuse_load()

    def refuse_load(self) -> None:
        self.load("scripted", job=self.far.sent[-1].job, failure=ABSENT, seat=self.far_seat)


@pytest.fixture
def machines(virtual_time) -> TwoMachines:
    async def create() -> TwoMachines:
        return TwoMachines()

    return virtual_time.run(create())


async def test_a_machine_that_lacks_a_model_fetches_it_while_another_generates(machines):
    assert machines.engine.running == [1]
    assert machines.far.sent[1:] == [FetchModel(job=machines.far.sent[1].job, name="large")]
    machines.finish(1)
    assert machines.engine.running == [2]


async def test_a_model_that_has_come_is_loaded_there_for_the_next_job(machines):
    machines.dispatcher.model_event(machines.far_seat, ModelFetched(job=machines.far.sent[-1].job))
    assert isinstance(machines.far.sent[-1], LoadModel)
    machines.load("scripted", "large", job=machines.far.sent[-1].job, seat=machines.far_seat)
    assert machines.far.running == [2]


async def test_a_model_that_no_machine_has_is_fetched_by_none(machines):
    machines.dispatcher.model_event(machines.far_seat, ModelFetched(job=machines.far.sent[-1].job, failure=ABSENT))
    machines.submit(3, model="nowhere")
    for engine, seat in zip(machines.engines, machines.seats, strict=True):
        loads = [message for message in engine.sent if isinstance(message, LoadModel) and message.name == "nowhere"]
        if loads:
            machines.load("scripted", job=loads[-1].job, failure=ABSENT, seat=seat)
    fetched = [
        message.name for engine in machines.engines for message in engine.sent if isinstance(message, FetchModel)
    ]
    assert "nowhere" not in fetched


async def test_a_model_that_cannot_be_loaded_with_its_files_is_not_fetched_again(machines):
    machines.dispatcher.model_event(machines.far_seat, ModelFetched(job=machines.far.sent[-1].job))
    machines.refuse_load()
    assert [type(message) for message in machines.far.sent] == [LoadModel, FetchModel, LoadModel]


async def test_a_model_that_cannot_be_fetched_there_stays_elsewhere(machines):
    machines.dispatcher.model_event(machines.far_seat, ModelFetched(job=machines.far.sent[-1].job, failure=ABSENT))
    assert isinstance(machines.far.sent[-1], FetchModel)
    machines.finish(1)
    assert machines.engine.running == [2]


async def test_the_first_machine_too_fetches_a_model_that_only_another_one_has():
    harness, far = Harness(), ScriptedEngine(room=1)
    far.machine = "10.0.0.7 cpu"
    far_seat = Seat("machine 1", far, OFFERED)
    harness.dispatcher.seats.add(far_seat)
    harness.load("scripted", "large", seat=far_seat)
    harness.submit(1, 2, model="large")
    harness.load("scripted", job=harness.engine.sent[-1].job, failure=ABSENT)
    assert far.running == [1]
    assert harness.engine.sent[1:] == [FetchModel(job=harness.engine.sent[1].job, name="large")]


async def test_a_machine_fetches_a_model_once_for_all_its_engines(machines):
    twin = ScriptedEngine(room=1)
    twin.machine = "10.0.0.7 cuda:1"
    twin_seat = Seat("machine 2", twin, OFFERED)
    machines.dispatcher.seats.add(twin_seat)
    machines.load("scripted", seat=twin_seat)
    machines.submit(3, model="large")
    machines.load("scripted", job=twin.sent[-1].job, failure=ABSENT, seat=twin_seat)
    assert [message for message in twin.sent if isinstance(message, FetchModel)] == []
    machines.dispatcher.model_event(machines.far_seat, ModelFetched(job=machines.far.sent[-1].job))
    assert "large" not in twin_seat.models.unloadable


async def test_a_card_that_cannot_hold_a_model_of_its_own_machine_fetches_nothing():
    harness = Harness(seats=2)
    harness.load("scripted", "large")
    harness.submit(1, 2, model="large")
    small = harness.engines[1]
    harness.load("scripted", job=small.sent[-1].job, failure=ABSENT, seat=harness.seats[1])
    assert [type(message) for message in small.sent] == [LoadModel]


async def test_a_lora_of_a_hub_is_fetched_once_by_each_machine(machines):
    twin = ScriptedEngine(room=1)
    twin.machine = "10.0.0.7 cuda:1"
    machines.dispatcher.seats.add(Seat("machine 2", twin, OFFERED))
    for engine in (*machines.engines, twin):
        engine.counts_tokens = True
    machines.load("scripted", seat=list(machines.dispatcher.seats)[-1])
    machines.dispatcher.request_loras(FETCH, Recorder())
    assert [list(engine.asked) for engine in (*machines.engines, twin)] == [[9], [9], []]


async def test_a_lora_of_a_hub_is_fetched_here_too_by_an_engine_that_has_another_model(machines):
    machines.load("large")
    for engine in machines.engines:
        engine.counts_tokens = True
    machines.dispatcher.request_loras(FETCH, Recorder())
    assert [list(engine.asked) for engine in machines.engines] == [[9], [9]]


@pytest.mark.parametrize("state", ["idle", "loading"])
async def test_a_lora_of_a_hub_waits_for_the_engine_here_instead_of_being_fetched_elsewhere_alone(machines, state):
    machines.engine.state, machines.far.counts_tokens, client = state, True, Recorder()
    machines.dispatcher.request_loras(FETCH, client)
    assert (client.of(9), list(machines.far.asked)) == (["loading"], [])
    assert machines.engine.woken > 0


async def test_a_lora_of_a_hub_is_fetched_elsewhere_alone_where_no_engine_here_will_come(machines):
    machines.engine.state, machines.far.counts_tokens, client = "failed", True, Recorder()
    machines.dispatcher.request_loras(FETCH, client)
    machines.far.asked[9].send(LorasLoaded(job=9))
    assert client.of(9) == ["LorasLoaded"]


@pytest.mark.parametrize("fails", ["here", "there"])
async def test_a_lora_of_a_hub_is_there_for_clients_where_the_engine_here_has_fetched_it(machines, fails):
    client, failure = Recorder(), Failed(job=9, code="invalid_parameter", sentence="The hub does not answer.")
    for engine in machines.engines:
        engine.counts_tokens = True
    machines.dispatcher.request_loras(FETCH, client)
    here, there = (engine.asked[9] for engine in machines.engines)
    here.send(failure if fails == "here" else LorasLoaded(job=9))
    assert client.of(9) == []
    there.send(failure if fails == "there" else LorasLoaded(job=9))
    assert client.of(9) == ["invalid_parameter" if fails == "here" else "LorasLoaded"]
