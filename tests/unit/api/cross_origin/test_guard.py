"""A web page of another origin changes nothing, and one under a rebound name reads nothing; other clients notice none
of it."""

from types import SimpleNamespace

import flask
import pytest

from imageserver.api import errors, routes
from imageserver.api.addresses import proxied_requests
from imageserver.api.cross_origin import guard
from imageserver.api.request_context import EXTENSION
from imageserver.settings import Settings

KEY = "a-key-of-the-tests"
FOREIGN = {"Origin": "https://evil.example"}


def client_of(**settings):
    app = flask.Flask("guarded", static_folder=None)
    app.extensions[EXTENSION] = SimpleNamespace(request_ids=SimpleNamespace(next_id=lambda: 5))
    errors.register(app)
    guard.register(app, Settings(_env_file=None, **settings))
    app.add_url_rule("/", view_func=lambda: "done", methods=["GET", "POST", "DELETE", "PUT"])
    app.add_url_rule("/ws", "ws", lambda: "upgraded", websocket=True)
    health = flask.Blueprint("health", "health")
    for name in ("livez", "readyz", "startupz", "health", "metrics", "info"):
        health.add_url_rule(f"/{name}", name, lambda: "well")
    app.register_blueprint(health)
    proxied_requests.register(app, Settings(_env_file=None, **settings))
    return app.test_client()


def status(client, method="POST", path="/", **headers):
    return client.open(path, method=method, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "headers",
    [
        FOREIGN, {"Origin": "null"}, {"Origin": "file://"}, {"Origin": ""}, {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"}, {"Origin": "http://localhost, http://localhost"},
        {"Origin": "chrome-extension://localhost"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, {"Origin": "null", "Sec-Fetch-Site": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_a_foreign_page_changes_nothing(method, headers):
    answer = client_of().open("/", method=method, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "foreign_origin")
    assert "ALLOWED_ORIGINS" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Origin": "http://localhost"}, {"Host": "localhost:5000", "Origin": "http://localhost:5000"},
        {"Host": "[::1]:5000", "Origin": "http://[::1]:5000"}, {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"}, {"Host": "LOCALHOST:5000", "Origin": "http://localhost:5000"},
    ],
    ids=str,
)  # fmt: skip
def test_programs_and_the_server_s_own_pages_are_served(headers):
    assert client_of().post("/", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [FOREIGN, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_reading_is_left_to_the_browser_which_hides_the_answer_from_a_foreign_page(headers):
    assert client_of().get("/", headers=headers).status_code == 200


def test_a_foreign_page_opens_no_websocket():
    client = client_of()
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert client.get("/ws", headers=handshake).data == b"upgraded"
    assert client.get("/ws", headers=handshake | {"Origin": "http://localhost"}).status_code == 200
    for headers in (FOREIGN, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.get("/ws", headers=handshake | headers).status_code == 403


def test_keys_do_not_open_the_server_to_foreign_pages():
    assert client_of(api_keys=KEY).post("/", headers=FOREIGN).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        # A proxy that passes the name on, one that tells it beside its own, and one that tells the port apart.
        {"Host": "images.example", "Origin": "https://images.example"},
        {"Host": "images.example:8443", "Origin": "https://images.example:8443"},
        {"Host": "localhost:5000", "X-Forwarded-Host": "images.example", "Origin": "https://images.example"},
        {"Host": "localhost:5000", "X-Forwarded-Host": "images.example, inner.example", "Origin": "https://images.example"},
        {"Host": "images.example", "X-Forwarded-Port": "8443", "Origin": "https://images.example:8443"},
        # One that tells nothing, before a browser that does.
        {"Host": "localhost:5000", "Origin": "https://images.example", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)  # fmt: skip
def test_a_page_behind_a_proxy_is_of_the_server_s_origin(headers):
    assert client_of(allowed_hosts="*.example").post("/", headers=headers).status_code == 200


def test_public_url_tells_the_origin_where_the_proxy_does_not():
    client = client_of(public_url="https://images.example/path")
    assert client.post("/", headers={"Host": "localhost:5000", "Origin": "https://images.example"}).status_code == 200
    assert client.post("/", headers={"Host": "localhost:5000", "Origin": "http://images.example"}).status_code == 403
    assert client.get("/", headers={"Host": "images.example"}).status_code == 200


def test_pages_of_allowed_origins_are_served():
    client = client_of(allowed_origins="https://app.example, chrome-extension://abc")
    for origin in ("https://app.example", "chrome-extension://abc"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/", headers=headers).status_code == 200
    for origin in ("http://app.example", "https://app.example:444", "https://www.app.example", "null"):
        assert client.post("/", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}], ids=str)
def test_a_rebound_name_reads_nothing(headers):
    answer = client_of().get("/", headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (421, "foreign_host")
    assert "ALLOWED_HOSTS" in answer.get_json()["error"]
    assert client_of().get("/nowhere", headers=headers).status_code == 421


def test_a_rebound_page_on_the_machine_of_a_trusted_proxy_cannot_pretend_to_be_the_proxy():
    """The page is of the server's own origin, so it may send any header, but not another Host."""
    client = client_of(trusted_proxies="127.0.0.1")
    for headers in ({"X-Forwarded-Host": "localhost"}, {"Forwarded": "for=203.0.113.5;host=localhost"}):
        assert client.get("/", headers={"Host": "evil.example"} | headers).status_code == 421
        assert client.get("/", headers={"Host": "localhost"} | headers).status_code == 200


def test_the_host_in_a_standard_header_is_checked_too():
    headers = {"Host": "localhost", "Forwarded": "for=203.0.113.5;host=evil.example"}
    assert client_of(trusted_proxies="127.0.0.1").get("/", headers=headers).status_code == 421


def test_a_request_without_a_host_comes_from_no_browser():
    assert client_of().get("/", environ_overrides={"HTTP_HOST": ""}).status_code == 200


def test_a_server_with_keys_answers_to_any_name():
    assert client_of(api_keys=KEY).get("/", headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(("path", "expected"), [("livez", 200), ("readyz", 200), ("startupz", 200), ("health", 200),
                                                ("metrics", 200), ("info", 421)])  # fmt: skip
def test_monitoring_may_use_any_name(path, expected):
    assert client_of().get(f"/{path}", headers={"Host": "10-0-0-5.pods.example"}).status_code == expected


def test_a_browser_s_question_for_a_foreign_page_is_refused_with_the_reason():
    question = FOREIGN | {"Access-Control-Request-Method": "POST"}
    assert client_of().options("/", headers=question).status_code == 403
    assert client_of().options("/").status_code == 200


def test_reading_changes_nothing():
    """A foreign page can make a browser read, so no route that generates or loads is read."""
    app = flask.Flask("routes", static_folder=None)
    routes.register(app, Settings(_env_file=None))
    views = {rule.rule: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules() if "GET" in rule.methods}
    operations = {path: view.operation for path, view in views.items() if hasattr(view, "operation")}
    assert len(operations) > 20
    assert {path for path, each in operations.items() if each.body or each.binary or each.form} == set()
