"""Every error has the same envelope and reveals nothing internal."""

from contextvars import copy_context
from types import SimpleNamespace

import flask
import pytest

from imageserver.api import errors
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi import response_headers
from imageserver.errors import BY_CODE, QueueFull
from imageserver.telemetry.logs import current_request


@pytest.fixture
def app():
    app = flask.Flask("errors")
    app.extensions[EXTENSION] = SimpleNamespace(request_ids=SimpleNamespace(next_id=lambda: 5))
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    errors.register(app)
    response_headers.register(app)
    return app


def answer_to(app, error):
    def view():
        raise error

    app.add_url_rule("/", view_func=view)
    return app.test_client().get("/")


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
def test_every_error_has_its_status_and_code(app, kind):
    answer = answer_to(app, kind("A sentence.", param="seed"))
    assert answer.status_code == kind.status
    assert answer.get_json() == {"error": "A sentence.", "code": kind.code, "param": "seed", "request_id": 5}
    assert answer.headers["X-Request-Id"] == "5"


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (7.1, "8"), (None, None)])
def test_retry_after_is_in_whole_seconds(app, seconds, header):
    assert answer_to(app, QueueFull("Full.", retry_after=seconds)).headers.get("Retry-After") == header


def test_an_unexpected_error_reveals_nothing_but_its_id(app, caplog):
    answer = answer_to(app, RuntimeError("secret in /srv/file.py"))
    assert answer.status_code == 500
    assert answer.get_json()["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_a_request_on_a_kept_connection_is_not_logged_under_the_number_of_the_one_before(app):
    logged_under = []

    def view():
        logged_under.append(current_request.get())
        return ""

    def ask():
        current_request.set(4)
        app.test_client().get("/")

    app.add_url_rule("/", view_func=view)
    copy_context().run(ask)
    assert logged_under == [None]
