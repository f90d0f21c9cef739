"""The events of a request, as a client follows them."""

from types import SimpleNamespace

import flask
import pytest

from imageserver.api import errors
from imageserver.api.request_context import EXTENSION
from imageserver.api.server import jobs
from imageserver.errors import EngineUnavailable, ServiceError
from imageserver.protocol.messages import JobEvent, JobStatus

STATUS = JobStatus(
    id=7, dialect="native", state="completed", prompt="x", width=64, height=64, steps=4, n=1, seed=1, priority="normal",
    created_at=1.0,
)  # fmt: skip
END = JobEvent(job=1, number=1, name="completed", status=STATUS)


@pytest.fixture
def follow():
    """Return a function that requests the events of a ticket with these: None is a pause without any, an error ends."""

    def told(events):
        for event in events:
            if isinstance(event, ServiceError):
                raise event
            yield event

    def ask(*events):
        ticket = SimpleNamespace(events=lambda pause: told(events), cancel=lambda: None)
        service = SimpleNamespace(
            request_ids=SimpleNamespace(next_id=lambda: 1), client=SimpleNamespace(watch=lambda question: ticket),
            thread_pool=None, settings=SimpleNamespace(log_prompts=True),
        )  # fmt: skip
        app = flask.Flask("jobs")
        app.extensions[EXTENSION] = service
        errors.register(app)
        app.register_blueprint(jobs.blueprint)
        return app.test_client().get("/v1/jobs/7/events")

    return ask


def test_a_request_without_events_exists_and_can_be_followed(follow):
    answer = follow(None, None, END)
    assert answer.status_code == 200
    assert answer.text.count(": still here") == 2
    assert "event: completed" in answer.text


def test_an_error_in_the_middle_of_the_events_is_the_last_of_them(follow):
    answer = follow(None, EngineUnavailable("The dispatcher has ended.", retry_after=1))
    assert answer.status_code == 200
    assert "event: error" in answer.text
    assert "The dispatcher has ended." in answer.text


def test_an_unknown_request_is_404(follow):
    assert follow().status_code == 404
