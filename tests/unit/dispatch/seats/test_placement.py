"""Several seats serve one queue: a job begins on the free seat where it is expected to be finished first."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageserver.enhancement.enhancement import Enhancement
from imageserver.generation import DeviceInfo, Lora, Outcome
from imageserver.protocol.messages import Failed, Finished, LoadModel, LoraRequest, LorasLoaded, Submit, UnloadModel
from tests.support.dispatch_harness import INFO, Harness, Recorder
from tests.support.factories import generation


def submit(harness, job, **fields):
    harness.dispatcher.submit(Submit(job=job, generation=generation(**fields), timeout=600.0), harness.worker)


def finish_in(harness, job, seconds):
    """Let a job end that kept its device for so many seconds."""
    seat = harness._free(job)
    outcome = Outcome(
        width=64, height=64, seeds=(1,), inference_time=seconds, device_time=seconds, queue_time=0.0, batch_size=1
    )
    harness.dispatcher.job_event(seat, Finished(job=job, outcome=outcome), b"pixels")


async def test_jobs_go_to_free_seats_and_the_others_wait():
    harness = Harness(seats=2)
    harness.submit(1, 2, 3)
    assert [engine.running for engine in harness.engines] == [[1], [2]]
    harness.finish(2)
    assert [engine.running for engine in harness.engines] == [[1], [3]]


async def test_jobs_that_no_free_seat_can_do_keep_none_from_those_behind_them():
    harness = Harness(seats=2, max_queue=200)
    harness.engines[1].state = "restarting"  # it may hold the model once it is there
    harness.seat.models.unloadable.add("elsewhere")
    harness.submit(*range(1, 101), model="elsewhere")
    harness.submit(101)
    assert harness.engine.running == [101]


async def test_an_idle_device_is_taken_before_one_that_would_be_shared():
    harness = Harness(seats=2, room=4)
    harness.submit(1, 2, 3)
    assert sorted(len(engine.running) for engine in harness.engines) == [1, 2]


async def test_a_large_job_on_one_card_never_delays_small_ones_on_another():
    harness = Harness(seats=2, room=2)
    submit(harness, 1, width=2048, height=2048, steps=100)
    for job in range(2, 8):
        submit(harness, job, width=64, height=64, steps=1)
        assert harness.engines[1].running == [job]
        finish_in(harness, job, 0.1)


async def test_a_job_joins_those_with_which_it_shares_forwards():
    harness = Harness(seats=2, room=4)
    device = DeviceInfo(batch_caps={"up to 262144 pixels": 8, "up to 1048576 pixels": 1})
    for seat in harness.seats:
        seat.models.known["scripted"] = dataclasses.replace(INFO, device=device)
    submit(harness, 1, width=512, height=512, steps=40)
    submit(harness, 2, width=1024, height=1024, steps=10)
    submit(harness, 3, width=512, height=512, steps=40)
    assert [engine.running for engine in harness.engines] == [[1, 3], [2]]


async def test_of_two_idle_seats_the_one_that_has_the_lora_is_taken():
    harness = Harness(seats=2)
    lora = Lora(name="red", digest="1")
    harness.submit(1)
    submit(harness, 2, loras=(lora,))
    harness.finish(1)
    harness.finish(2)
    submit(harness, 3, loras=(lora,))
    assert harness.engines[1].running == [3]


async def test_a_job_waits_for_a_fast_card_as_long_as_a_slow_one_would_take_longer_and_no_longer():
    harness = Harness(seats=2)
    harness.submit(1, 2)
    finish_in(harness, 1, 1.0)
    finish_in(harness, 2, 10.0)
    harness.submit(3)
    assert [engine.running for engine in harness.engines] == [[3], []]
    harness.submit(*range(4, 9))
    assert harness.engines[1].running == [], "the fast card has done these six sooner"
    harness.submit(*range(9, 20))
    assert len(harness.engines[1].running) == 1, "the twelfth would wait for longer than the slow card takes"


async def test_a_dead_engines_jobs_run_again_elsewhere_and_only_once():
    harness = Harness(seats=2)
    harness.submit(1)
    harness.lose_engine(0)
    assert harness.engines[1].running == [1], "at once, before the first seat has another engine"
    harness.revive(0)
    harness.lose_engine(1)
    assert harness.worker.of(1) == ["engine_unavailable"]
    assert harness.engines[0].running == []


async def test_the_log_names_the_requests_and_traces_that_a_dead_engine_ran(caplog):
    harness = Harness(room=2)
    harness.submit(1, trace_id="4bf9")
    harness.submit(2)
    harness.lose_engine()
    lost, other = (record for record in caplog.records if "was lost while it ran this request" in record.message)
    assert (lost.request_id, lost.trace_id) == (1, "4bf9")
    assert (other.request_id, hasattr(other, "trace_id")) == (2, False)
    harness.revive()
    assert harness.engine.messages[-1].trace_id == "4bf9"


async def test_a_seat_that_has_failed_for_good_takes_no_jobs_and_the_others_serve_all():
    harness = Harness(seats=2)
    harness.engines[0].state = "failed"
    harness.dispatcher.engine_lost(harness.seats[0], silent=False)
    harness.submit(1, 2)
    harness.finish(1)
    assert harness.engines[1].running == [2]
    assert harness.dispatcher.snapshot().state == "healthy"
    harness.engines[1].state = "failed"
    harness.dispatcher.engine_lost(harness.seats[1], silent=False)
    assert harness.worker.of(2) == ["engine_unavailable"]


async def test_a_job_is_cancelled_on_its_own_seat():
    harness = Harness(seats=2)
    harness.submit(1, 2)
    harness.dispatcher.cancel(2)
    assert [engine.cancels for engine in harness.engines] == [[], [2]]


async def test_a_job_says_which_card_it_runs_on():
    harness = Harness(seats=2)
    harness.submit(1, 2)
    harness.progress(2)
    assert harness.dispatcher.job_records.find(2, "").status.device == "card1"
    seats = harness.dispatcher.snapshot().seats
    assert [(seat.name, seat.active) for seat in seats] == [("card0", 1), ("card1", 1)]


async def test_a_model_is_loaded_on_a_free_seat_while_the_other_goes_on():
    harness = Harness(seats=2)
    harness.submit(1)
    harness.submit(2, model="other")
    assert [engine.sent for engine in harness.engines] == [[], [LoadModel(job=1, name="other")]]
    harness.load("scripted", "other", job=1, seat=harness.seats[1])
    assert harness.engines[1].running == [2]


async def test_a_model_is_placed_on_another_card_once_the_wait_is_longer_than_its_load():
    harness = Harness(seats=2, max_queue=100)
    harness.load("scripted", "hot", seat=harness.seats[0])
    harness.seats[0].models.known["hot"] = dataclasses.replace(INFO, name="hot", load_time=8.0)
    harness.submit(1, model="hot")
    finish_in(harness, 1, 2.0)
    harness.submit(2, 3, model="hot")
    assert harness.engines[1].sent == [], "two images are generated before it could be loaded"
    harness.submit(*range(4, 12), model="hot")
    assert harness.engines[1].sent == [LoadModel(job=1, name="hot")]


async def test_a_model_that_one_card_cannot_hold_is_loaded_on_another_and_fails_only_where_none_can():
    harness = Harness(seats=2)
    harness.submit(1, model="large")
    refusal = Failed(job=1, code="model_unloadable", sentence="It is too large.", param="model")
    first = harness.engines[0].sent[0]
    harness.load("scripted", job=first.job, failure=refusal, seat=harness.seats[0])
    assert harness.worker.of(1) == []
    [second] = harness.engines[1].sent
    harness.load("scripted", job=second.job, failure=refusal, seat=harness.seats[1])
    assert harness.worker.of(1) == ["model_unloadable"]
    harness.submit(2, model="large")
    assert len(harness.engines[0].sent) == 2, "a later one tries again"


def harness_with_refusal():
    """Return a harness of two seats: the first could not load `large`, the second has it."""
    harness = Harness(seats=2)
    harness.submit(1, model="large")
    refusal = Failed(job=1, code="model_unloadable", sentence="It is too large.", param="model")
    harness.load("scripted", job=harness.engines[0].sent[0].job, failure=refusal, seat=harness.seats[0])
    harness.load("scripted", "large", job=harness.engines[1].sent[0].job, seat=harness.seats[1])
    return harness


@pytest.mark.parametrize("end", ["failed", "closed"])
async def test_a_model_that_a_card_could_not_hold_is_tried_there_again_when_no_other_card_is_left(end):
    harness = harness_with_refusal()
    if end == "closed":
        await harness.dispatcher.close_seat(harness.seats[1])
    else:
        harness.lose_engine(1)
        assert len(harness.engines[0].sent) == 1, "the other one may come back"
        harness.engines[1].state = "failed"
        harness.dispatcher.engine_lost(harness.seats[1], silent=False)
    [_, again] = harness.engines[0].sent
    assert again.name == "large"
    refusal = Failed(job=again.job, code="model_unloadable", sentence="It is too large.", param="model")
    harness.load("scripted", job=again.job, failure=refusal, seat=harness.seats[0])
    assert harness.worker.of(1)[-1] == "model_unloadable"
    assert len(harness.engines[0].sent) == 2


async def test_a_model_that_kills_every_engine_is_tried_once_on_each():
    harness = Harness(seats=2)
    harness.submit(1, model="deadly")
    for number in (0, 1):
        assert [load.name for load in harness.engines[number].sent] == ["deadly"]
        harness.lose_engine(number)
        harness.revive(number)
    assert harness.worker.of(1) == ["engine_unavailable"]
    assert [len(engine.sent) for engine in harness.engines] == [1, 1]


async def test_a_model_with_which_an_engine_has_begun_may_be_used_there_though_it_could_not_be_loaded_before():
    harness = harness_with_refusal()
    harness.load("scripted", "large", seat=harness.seats[0])
    harness.submit(2, model="large")
    assert harness.engines[0].running == [2]


async def test_a_client_loads_a_model_on_all_seats_and_unloads_it_from_all():
    harness = Harness(seats=2)
    harness.request_model(1, load="other")
    loads = [engine.sent[0] for engine in harness.engines]
    assert [load.name for load in loads] == ["other", "other"]
    harness.load("scripted", "other", job=loads[1].job, seat=harness.seats[1])
    assert [answer.job for answer in harness.worker.responses] == [1], "the first one is enough to generate"
    harness.load("scripted", "other", job=loads[0].job, seat=harness.seats[0])
    harness.request_model(2, unload="other")
    unloads = [engine.sent[1] for engine in harness.engines]
    assert [type(unload) for unload in unloads] == [UnloadModel, UnloadModel]
    harness.load("scripted", job=unloads[0].job, seat=harness.seats[0])
    assert len(harness.worker.responses) == 1
    harness.load("scripted", job=unloads[1].job, seat=harness.seats[1])
    assert [answer.job for answer in harness.worker.responses] == [1, 2]


async def test_the_default_model_stays_when_one_of_two_engines_begins_with_another_one():
    harness = Harness(seats=2)
    harness.lose_engine(0)
    harness.engines[0].state = "ready"
    harness.load("reserve", seat=harness.seats[0])
    assert harness.dispatcher.snapshot().default == "scripted"


async def test_loras_are_those_of_every_seat_that_has_the_model():
    harness, listener = Harness(seats=2), Recorder()
    for engine in harness.engines:
        engine.counts_tokens = True
    harness.dispatcher.request_loras(LoraRequest(job=7), listener)
    harness.engines[0].asked[7].send(LorasLoaded(job=7, names=("red",)))
    assert listener.messages == []
    harness.engines[1].asked[7].send(LorasLoaded(job=7, names=("blue", "red")))
    assert listener.messages == [LorasLoaded(job=7, names=("red", "blue"))]


class RandomServer:
    """Three seats, on which things happen in any order, and the number of engines that each job has lost."""

    def __init__(self):
        self.harness = Harness(seats=3, room=2, max_queue=1000)
        self.deaths = Counter()
        self.submitted = []

    @property
    def running(self):
        return [job for engine in self.harness.engines for job in engine.running]

    def submit(self, choice):
        self.submitted.append(len(self.submitted) + 1)
        self.harness.submit(self.submitted[-1])

    def finish(self, choice):
        if self.running:
            self.harness.finish(self.running[choice % len(self.running)])

    def lose(self, choice):
        engine = self.harness.engines[choice % 3]
        if engine.state == "ready":
            self.deaths.update(engine.running)
            self.harness.lose_engine(choice % 3)

    def revive(self, choice):
        if self.harness.engines[choice % 3].state == "restarting":
            self.harness.revive(choice % 3)

    def check(self):
        assert len(self.running) == len(set(self.running)), "no job runs twice at a time"
        idle = [engine for engine in self.harness.engines if engine.state == "ready" and not engine.running]
        assert not (idle and list(self.harness.dispatcher.jobs.queue)), "no seat is idle while a job waits"
        assert all(self.deaths[job] < 2 for job in self.running), "once again, and no more"
        for engine in self.harness.engines:
            lost = [job for job in engine.running if self.deaths[job]]
            assert not lost or engine.running == lost[:1], "one that may kill engines runs alone"

    def end(self):
        for number in range(3):
            self.revive(number)
        while self.running:
            self.finish(0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["submit", "finish", "lose", "revive"]), st.integers(0, 9)), max_size=60))
def test_whatever_dies_every_job_ends_once_and_no_seat_is_idle_while_one_waits(virtual_time, actions):
    async def act():
        server = RandomServer()
        for action, choice in actions:
            getattr(server, action)(choice)
            server.check()
        server.end()
        for job in server.submitted:
            ends = [end for end in server.harness.worker.of(job) if end != "Started"]
            assert ends == ["engine_unavailable" if server.deaths[job] >= 2 else "Finished"]

    virtual_time.run(act())


def harness_with_one_captioner():
    """Return a harness of two seats whose model describes images on the second alone."""
    harness = Harness(seats=2, room=1)
    harness.seats[1].models.known["scripted"] = dataclasses.replace(INFO, captions=True)
    return harness


async def test_a_caption_waits_for_a_seat_that_can_write_it():
    harness = harness_with_one_captioner()
    submit(harness, 1, caption="tags", count=0)
    submit(harness, 2, caption="tags", count=0)
    assert [engine.running for engine in harness.engines] == [[], [1]]
    harness.engines[1].state = "restarting"
    submit(harness, 3)
    assert harness.engines[0].running == [3]
    harness.finish(3)
    assert harness.engines[0].running == [], "the second seat comes back"


async def test_a_caption_that_no_seat_can_write_is_refused_at_once():
    harness = harness_with_one_captioner()
    submit(harness, 1)
    submit(harness, 2, caption="tags", count=0)
    submit(harness, 3, caption="tags", count=0)
    harness.seats[1].models.known["scripted"] = INFO
    submit(harness, 4, caption="tags", count=0)
    assert harness.worker.of(4) == ["not_found"]
    harness.finish(1)
    assert harness.engines[0].running == [3], "the engine has the last word about one that waits already"


async def test_a_caption_waits_for_no_engine_that_has_failed_for_good():
    harness = harness_with_one_captioner()
    harness.engines[1].state = "restarting"
    submit(harness, 1, caption="tags", count=0)
    assert harness.worker.of(1) == []
    harness.engines[1].state = "failed"
    harness.dispatcher.engine_lost(harness.seats[1], silent=False)
    assert harness.engines[0].running == [1], "the engine has the last word about one that waits already"
    submit(harness, 2, caption="tags", count=0)
    assert harness.worker.of(2) == ["not_found"]


async def test_a_prompt_to_be_enhanced_goes_where_a_better_one_can_be_written():
    harness = Harness(seats=2, room=1)
    harness.seats[1].models.known["scripted"] = dataclasses.replace(INFO, enhances=True)
    submit(harness, 1, enhancement=Enhancement(prompt="fox"))
    assert [engine.running for engine in harness.engines] == [[], [1]]
    submit(harness, 2, enhancement=Enhancement(prompt="fox"))
    submit(harness, 3)
    assert harness.engines[0].running == [3], "an image that waits for it keeps no other one waiting"
    harness.seats[1].models.known["scripted"] = INFO
    harness.finish(3)
    assert harness.engines[0].running == [2], "where none can write one, the prompt is used as it is"


async def test_a_prompt_that_has_been_enhanced_already_waits_for_no_seat_that_could_write_one():
    harness = Harness(seats=2, room=1)
    harness.seats[1].models.known["scripted"] = dataclasses.replace(INFO, enhances=True)
    submit(harness, 1, enhancement=Enhancement(prompt="fox"))
    submit(harness, 2, enhancement=Enhancement(prompt="fox", revised="a red fox"))
    assert [engine.running for engine in harness.engines] == [[2], [1]]
