"""Tasks whose worker has died are adopted by another one."""

from types import SimpleNamespace

import gevent
import pytest
from flask import Flask

from imageserver.api.dialects.tasks import runner
from imageserver.api.generation.run import GenerationRequest
from imageserver.api.output_options import OutputOptions
from imageserver.outputs.task_store import TaskStore
from tests.support.factories import generation

WHOLE = runner.wanted_of(
    GenerationRequest(number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=60)
)


@pytest.fixture
def service(tmp_path):
    return SimpleNamespace(
        tasks=TaskStore(tmp_path, ttl=100), request_ids=SimpleNamespace(next_id=lambda: 9),
        settings=SimpleNamespace(font_path=None), client=None,
    )  # fmt: skip


def left_behind(service, wanted):
    task = service.tasks.add(number=1, credential="", wanted=wanted, owner=1, warnings=[])
    service.tasks.release(task.task_id)
    return task.task_id


@pytest.mark.parametrize("unreadable", ['{"generation": {"prompt": "of another version"}}', "no JSON", "[1]"])
def test_a_task_that_cannot_be_read_fails_and_blocks_no_other(service, monkeypatch, unreadable):
    generated = []

    def generate(service, request):
        generated.append(request.generation.prompt)
        return SimpleNamespace(updates=lambda: iter(()))

    monkeypatch.setattr(runner, "PendingGeneration", generate)
    broken, _ = left_behind(service, unreadable), left_behind(service, WHOLE)
    runner.adopt(Flask(__name__), service)
    gevent.sleep(0.01)
    assert generated == [generation().prompt]
    ended = service.tasks.find(broken, "")
    assert (ended.state, ended.code) == ("failed", "internal_error")
