"""Pages of ALLOWED_ORIGINS may send requests and read answers; nobody else's may."""

from types import SimpleNamespace

import flask
import pytest

from imageserver.api import authentication, errors, routes
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.cross_origin import cors, guard
from imageserver.api.request_context import EXTENSION
from imageserver.settings import Settings

KEY = "a-key-of-the-tests"
APP = {"Origin": "https://app.example"}
QUESTION = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-stainless-lang",
}


def client_of(**settings):
    app = flask.Flask("shared", static_folder=None)
    keyring = Keyring([KeyEntry(name="ann", key=KEY)], locked="api_keys" in settings)
    ids = SimpleNamespace(next_id=lambda: 5)
    app.extensions[EXTENSION] = SimpleNamespace(request_ids=ids, keyring=keyring, huggingface_tokens=None)
    chosen = Settings(_env_file=None, **settings)
    errors.register(app)
    guard.register(app, chosen)
    cors.register(app, chosen)
    authentication.register(app)
    app.add_url_rule("/", view_func=lambda: "done", methods=["GET", "POST"])
    return app.test_client()


def opened(answer):
    return {name: text for name, text in answer.headers.items() if name.startswith("Access-Control-")}


def test_an_allowed_page_is_asked_for_no_key_before_it_may_send_one():
    answer = client_of(allowed_origins="https://app.example", api_keys=KEY).options("/", headers=APP | QUESTION)
    assert (answer.status_code, answer.data) == (204, b"")
    headers = opened(answer)
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert headers["Access-Control-Allow-Headers"] == QUESTION["Access-Control-Request-Headers"]
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Origin" in answer.headers["Vary"]


def test_an_allowed_page_may_use_every_method_that_a_route_has():
    app = flask.Flask("routes", static_folder=None)
    app.extensions[EXTENSION] = SimpleNamespace(keyring=Keyring([], locked=False))
    routes.register(app, Settings(_env_file=None, allowed_origins="https://app.example"))
    answer = app.test_client().options("/v1/models", headers=APP | QUESTION)
    allowed = set(opened(answer)["Access-Control-Allow-Methods"].split(", "))
    used = set().union(*(rule.methods for rule in app.url_map.iter_rules())) - {"OPTIONS"}
    assert allowed >= used >= {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("key", "status"), [(KEY, 200), ("wrong", 401)])
def test_an_allowed_page_reads_answers_and_refusals(method, key, status):
    client = client_of(allowed_origins="https://app.example", api_keys=KEY)
    answer = client.open("/", method=method, headers=APP | {"Authorization": f"Bearer {key}"})
    assert answer.status_code == status
    assert opened(answer) == {
        "Access-Control-Allow-Origin": "https://app.example", "Access-Control-Expose-Headers": "*",
    }  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"allowed_origins": "https://app.example"}], ids=str)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example", "http://localhost"])
def test_nobody_else_s_page_reads_anything(settings, origin):
    client = client_of(**settings)
    for method, headers in (("GET", {}), ("POST", {}), ("OPTIONS", QUESTION)):
        assert opened(client.open("/", method=method, headers={"Origin": origin} | headers)) == {}


def test_a_cache_keeps_the_answers_to_different_origins_apart():
    client = client_of(allowed_origins="https://app.example")
    assert "Origin" in client.get("/").headers["Vary"]
    assert "Vary" not in client_of().get("/").headers


def test_with_keys_every_origin_can_be_allowed():
    client = client_of(allowed_origins="*", api_keys=KEY)
    answer = client.post("/", headers={"Origin": "null", "Authorization": f"Bearer {KEY}"})
    assert (answer.status_code, opened(answer)["Access-Control-Allow-Origin"]) == (200, "null")
