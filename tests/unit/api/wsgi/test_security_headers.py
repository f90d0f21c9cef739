"""Every answer tells browsers how little they may do with it."""

import flask
import pytest

from imageserver.api.wsgi import security_headers


@pytest.fixture
def client():
    app = flask.Flask("headers", static_folder=None)
    security_headers.register(app)
    own = {"Content-Security-Policy": "default-src 'self'"}
    app.add_url_rule("/", view_func=lambda: "done")
    app.add_url_rule("/page", "page", lambda: ("page", 200, own))
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    return app.test_client()


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nothing", 404), ("/broken", 500)])
def test_answers_and_errors_have_them(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_page_keeps_its_own_content_policy(client):
    assert client.get("/page").headers["Content-Security-Policy"] == "default-src 'self'"


@pytest.mark.parametrize(
    ("address", "is_honoured"),
    [
        ("http://localhost:5000", True), ("http://127.0.0.1:5000", True), ("https://images.example", True),
        ("http://192.168.0.5:5000", False), ("http://images.local", False),
    ],
)  # fmt: skip
def test_an_opener_policy_is_sent_only_where_browsers_honour_it(client, address, is_honoured):
    assert ("Cross-Origin-Opener-Policy" in client.get("/", base_url=address).headers) is is_honoured
