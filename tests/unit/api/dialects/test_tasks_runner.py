"""Tasks that nobody follows are adopted, and wait longer each time that they cannot run.

The end of a task is stored even if that takes time.
"""

import gc
import itertools
import json
import logging
import math
import sqlite3
import weakref
from contextlib import closing
from types import SimpleNamespace

import gevent
import pytest
from flask import Flask

from imageserver.api.dialects.tasks import recording, runner, source_files, stored_request
from imageserver.api.generation.request_times import trace_headers
from imageserver.api.generation.run import GenerationRequest, GenerationResult
from imageserver.api.output_options import OutputOptions
from imageserver.errors import Cancelled, EngineUnavailable, GenerationFailed, StorageFull, StorageUnavailable
from imageserver.generation import Control, Outcome, Source
from imageserver.outputs.state import FILE
from imageserver.protocol.messages import Started
from tests.support.factories import generation, task_store

WHOLE = stored_request.wanted_of(
    GenerationRequest(number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=60)
)


@pytest.fixture
def service(tmp_path):
    return SimpleNamespace(
        tasks=task_store(tmp_path), request_ids=SimpleNamespace(next_id=lambda: 9),
        settings=SimpleNamespace(font_path=None, state_dir=tmp_path, resolve=lambda path: path), client=None,
        thread_pool=SimpleNamespace(run=lambda function, *args: function(*args)),
        draining=False, status="healthy", output_sealer=None, output_signer=None,
    )  # fmt: skip


def attempt(**fields):
    """Return a generation without updates, in place of a PendingGeneration."""
    return SimpleNamespace(updates=lambda: iter(()), leave_to_next_attempt=lambda errors: None, **fields)


def left_behind(service, wanted):
    task = service.tasks.add(number=1, credential="", wanted=wanted, warnings=[])
    service.tasks.unfollow(task.task_id)
    return task.task_id


@pytest.mark.parametrize("unreadable", ['{"generation": {"prompt": "of another version"}}', "no JSON", "[1]"])
def test_a_task_that_cannot_be_read_fails_and_blocks_no_other(service, monkeypatch, unreadable):
    generated = []

    def generate(service, request):
        generated.append(request.generation.prompt)
        return attempt()

    monkeypatch.setattr(stored_request, "PendingGeneration", generate)
    broken, _ = left_behind(service, unreadable), left_behind(service, WHOLE)
    runner.adopt(Flask(__name__), service)
    gevent.sleep(0.01)
    assert generated == [generation().prompt]
    ended = service.tasks.find(broken, "")
    assert (ended.state, ended.code) == ("failed", "internal_error")


def test_an_adopted_task_goes_on_in_the_trace_of_its_client(service, monkeypatch):
    traced, headers = [], {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}

    def generate(*_):
        traced.append(trace_headers())
        options = OutputOptions("png", None, None)
        request = GenerationRequest(number=1, generation=generation(), output_options=options, timeout=60)
        return attempt(warnings=[], request=request)

    monkeypatch.setattr(stored_request, "PendingGeneration", generate)
    monkeypatch.setattr(stored_request, "prepare", generate)
    monkeypatch.setattr(stored_request, "parse_request", lambda *_, **fields: None)
    with Flask(__name__).test_request_context(headers=headers):
        whole = stored_request.wanted_of(generate().request)
        waits_for_its_model = stored_request.wanted_of_fields({"prompt": "a fox"}, "")
    for wanted in (whole, waits_for_its_model):
        del traced[:]
        name = left_behind(service, wanted)
        runner.adopt(Flask(__name__), service)
        gevent.sleep(0.01)
        assert traced == [headers]
        # Also when it waits once more, for another worker.
        assert json.loads(service.tasks.find(name, "").wanted)["trace"] == headers
        service.tasks.fail(name, code="cancelled", sentence="")


def test_a_task_of_the_version_with_one_control_image_keeps_it(service, monkeypatch):
    controls = []

    def generate(service, request):
        controls.extend(request.generation.controls)
        return attempt()

    monkeypatch.setattr(stored_request, "PendingGeneration", generate)
    stored = json.loads(WHOLE)
    del stored["generation"]["controls"]
    stored["generation"]["control"] = {"digest": "d", "scale": 0.5, "start": 0.0, "end": 1.0}
    source_files.write(service, left_behind(service, json.dumps(stored)), b"pixels")
    runner.adopt(Flask(__name__), service)
    gevent.sleep(0.01)
    assert controls == [Control(digest="d", scale=0.5)]


def test_a_task_whose_images_a_backup_left_out_fails_instead_of_making_an_image_of_its_prompt_alone(service):
    options = OutputOptions("png", None, None)
    starting = generation(source=Source(strength=0.5, digest="d"))
    request = GenerationRequest(number=1, generation=starting, output_options=options, timeout=60)
    with Flask(__name__).test_request_context():
        fields = stored_request.wanted_of_fields({"prompt": "a fox"}, "", has_images=True)
        names = [left_behind(service, wanted) for wanted in (stored_request.wanted_of(request), fields)]
    runner.adopt(Flask(__name__), service)
    gevent.sleep(0.01)
    ended = [service.tasks.find(name, "") for name in names]
    assert [(task.state, task.code) for task in ended] == [("failed", "generation_failed")] * 2
    assert all("gone from STATE_DIR" in task.error for task in ended)


def ends_with(service, monkeypatch, updates):
    """Submit a task whose generation sends `updates`, or raises the one that is an error; return its id."""

    def generate():
        yield Started(job=1)
        waiting = list(updates)
        updates.clear()
        while waiting:
            if isinstance(waiting[0], Exception):
                raise waiting[0]
            yield waiting.pop()

    monkeypatch.setattr(runner, "save_all", lambda service, result: ["a.png"])
    task = service.tasks.add(number=1, credential="", wanted=WHOLE, warnings=[])
    runner.follow(service, task, lambda: (task, generate()))
    return task.task_id


def result(outcome):
    return GenerationResult(request=None, outcome=outcome, files=(b"x",), info=None, origin="generated", warnings=[])


OUTCOME = Outcome(width=64, height=64, seeds=(5,), inference_time=1.0, queue_time=0.0, batch_size=1)
ENDS = [
    ([result(OUTCOME)], "completed"),
    ([GenerationFailed("It failed.")], "failed"),
    ([Cancelled("It was cancelled.")], "cancelled"),
    ([StorageFull("The image could not be saved.")], "failed"),
    ([RuntimeError("a bug")], "failed"),
    ([EngineUnavailable("The engine died.", retry_after=0.001)], "queued"),
    ([StorageUnavailable("The store is away.", retry_after=0.001)], "queued"),
    ([], "queued"),
]


@pytest.mark.parametrize(("updates", "state"), ENDS)
def test_the_end_of_a_task_is_stored_when_the_locked_database_is_free_again(
    service, monkeypatch, tmp_path, updates, state
):
    monkeypatch.setattr("imageserver.outputs.state.BUSY_SECONDS", 0.01)
    monkeypatch.setattr(recording, "FIRST_PAUSE_SECONDS", 0.02)
    task_id = ends_with(service, monkeypatch, [*updates])
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gevent.sleep(0.12)
        assert service.tasks.find(task_id, "").state == "queued"
        # It still has its owner, so nobody generates it again.
        assert task_store(tmp_path).adopt(lambda: 9) == []
    gevent.sleep(0.12)
    assert service.tasks.find(task_id, "").state == state
    # One that waits for another attempt is adopted, once.
    adopted = [store.adopt(lambda: 9) for store in (service.tasks, task_store(tmp_path))]
    assert [len(tasks) for tasks in adopted] == [int(state == "queued"), 0]


def test_no_image_is_kept_until_the_end_can_be_stored(service, monkeypatch, tmp_path):
    monkeypatch.setattr("imageserver.outputs.state.BUSY_SECONDS", 0.01)

    class Large:
        inference_time, seeds, warnings = 1.0, (), ()

    outcome = Large()
    kept = weakref.ref(outcome)
    task_id = ends_with(service, monkeypatch, [result(outcome)])
    del outcome
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gevent.sleep(0.2)
        gc.collect()
        assert service.tasks.find(task_id, "").completed_at is None
        assert kept() is None


def test_a_worker_that_fails_to_follow_a_task_lets_another_one_do_it(service, monkeypatch, tmp_path):
    task = service.tasks.add(number=1, credential="", wanted=WHOLE, warnings=[])
    monkeypatch.setattr(runner, "record_end", lambda write: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner._follow(service, task, lambda: (task, iter(())))
    assert [adopted.task_id for adopted in service.tasks.adopt(lambda: 9)] == [task.task_id]


class TaskClock:
    """Time that passes only where a test lets it, however busy the machine is."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        until = self.now + seconds
        while self.now < until:
            gevent.sleep(0)

    def advance(self, seconds):
        until = self.now + seconds
        while self.now < until:
            self.now += 0.002
            gevent.sleep(0)


@pytest.fixture
def clock(monkeypatch):
    """The clock of tasks that wait."""
    clock = TaskClock()
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(runner, "gevent", SimpleNamespace(spawn=gevent.spawn, sleep=clock.sleep))
    yield clock
    clock.now = math.inf  # whoever still waits ends
    gevent.sleep(0)


@pytest.fixture
def failing(service, clock, monkeypatch):
    """A service whose first model cannot be loaded, the moments of the attempts, and the sentence that refuses them."""
    service.status, service.moments, service.sentence = "degraded", [], "The model cannot be loaded."
    service.retry_after = 0.02
    service.clock = clock

    def generate(service, request):
        service.moments.append(clock.now)
        raise EngineUnavailable(service.sentence, retry_after=service.retry_after)

    monkeypatch.setattr(stored_request, "PendingGeneration", generate)
    monkeypatch.setattr(runner, "STATUS_INTERVAL_SECONDS", 0.005)
    service.task_id = left_behind(service, WHOLE)
    return service


def adopt_until(service, attempts):
    deadline = service.clock.now + 1
    while len(service.moments) < attempts and service.clock.now < deadline:
        runner.adopt(Flask(__name__), service)
        service.clock.advance(0.002)
    assert len(service.moments) == attempts


def test_a_task_without_an_engine_is_tried_less_and_less_often_and_the_log_says_why_once(failing, caplog):
    caplog.set_level(logging.INFO)
    adopt_until(failing, 4)
    first, *_, last = [after - before for before, after in itertools.pairwise(failing.moments)]
    assert last > 2 * first
    messages = [record.getMessage() for record in caplog.records if record.name == runner.__name__]
    assert messages == [f"Task {failing.task_id} is adopted.", "The task waits: The model cannot be loaded."]
    failing.sentence = "The machine is gone."
    adopt_until(failing, 5)
    assert caplog.records[-1].getMessage() == "The task waits: The machine is gone."


def test_a_task_that_waits_is_tried_again_as_soon_as_an_engine_is_there(failing):
    failing.tasks.waits.extend(failing.task_id, failing.sentence, 30.0)
    adopt_until(failing, 1)
    failing.clock.advance(0.05)
    runner.adopt(Flask(__name__), failing)
    failing.clock.advance(0.01)  # one that was adopted would have been tried by now
    assert failing.moments[1:] == []  # it waits for a minute
    failing.status = "healthy"
    adopt_until(failing, 2)


def test_a_task_that_is_told_an_hour_is_tried_again_within_a_minute(failing):
    failing.retry_after = 3600.0
    adopt_until(failing, 1)
    failing.clock.now += 61.0
    adopt_until(failing, 2)
