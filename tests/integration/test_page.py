"""Who gets the web page, with which headers, and when: always."""

import http.client
import re
from unittest.mock import ANY

import pytest

from tests.support.server import GUNICORN, SERVE

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"}


def raw_get(server, path):
    """GET a path as it is written, dots and all."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers={"Connection": "close"})
    return connection.getresponse()


@pytest.mark.parametrize("command", [GUNICORN, SERVE], ids=["gunicorn", "serve"])
def test_a_browser_gets_the_page_and_its_files_while_the_model_loads(command, own_servers):
    server = own_servers(ready=False, command=command, FAKE_LOAD="60", API_KEYS="a-key-of-the-tests")
    page = server.get("/", headers=BROWSER)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r"(?:href|src)=\"(page/[^\"]+)\"", page.text)
    assert len(named) >= 3
    for name in named:
        assert server.get(f"/{name}").status_code == 200
    assert server.health()["status"] == "loading"
    assert server.get("/info").status_code == server.get("/page/start.json").status_code == 401


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_machines_get_the_list(fake_server, accept):
    answer = fake_server.get("/", headers={"Accept": accept})
    assert answer.json()["name"] == "qwen-image-server"
    assert "Accept" in answer.headers["Vary"]


def test_caches_know_that_the_start_page_depends_on_who_asks(fake_server):
    assert "Accept" in fake_server.get("/", headers=BROWSER).headers["Vary"]


def test_clients_of_cogview4_find_it_where_it_was(fake_server):
    assert fake_server.get("/client.html").content == fake_server.get("/", headers=BROWSER).content


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("main.js", "text/javascript"),
        ("shell/server.js", "text/javascript"),
        ("styles/base.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
        ("index.html", "text/html"),
    ],
)
def test_files_have_their_types_and_are_asked_for_again_only_when_they_changed(fake_server, name, media):
    first = fake_server.get(f"/page/{name}")
    assert first.headers["Content-Type"].startswith(media)
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert first.headers["Cache-Control"] == "no-cache"
    again = fake_server.get(f"/page/{name}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert fake_server.get(f"/page/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_page_may_load_nothing_from_elsewhere_and_stand_in_no_frame(fake_server):
    headers = fake_server.get("/", headers=BROWSER).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/page/nothing.js", "/page/", "/page/views.py", "/page/../views.py", "/page/../../health.py",
        "/page/..%2fviews.py", "/page/%2e%2e/views.py", "/page/....//views.py", "/page//etc/passwd",
        "/page/main.js%00.css", "/page/files/main.js", "/page/..\\views.py", "/page/shell", "/page/shell/",
        "/page/shell/../../views.py", "/page/shell%2f..%2f..%2fviews.py", "/page/../page/main.js/x",
    ],
)  # fmt: skip
def test_there_is_nothing_but_the_page_s_own_files(fake_server, path):
    answer = raw_get(fake_server, path)
    body = answer.read().decode()
    assert answer.status == 404, body
    assert '"code":"not_found"' in body
    assert "import" not in body


def test_texts_are_compressed_for_clients_that_say_so_and_versions_are_kept_for_good(fake_server):
    page = fake_server.get("/", headers=BROWSER).text
    versioned = re.search(r'src="(page/[^"]+/page.js)"', page)[1]
    plain = fake_server.get(f"/{versioned}", headers={"Accept-Encoding": "identity"})
    packed = fake_server.get(f"/{versioned}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < 0.6 * int(plain.headers["Content-Length"])
    assert packed.content == plain.content
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert "immutable" in packed.headers["Cache-Control"]


def test_what_the_form_depends_on_is_one_document(fake_server):
    start = fake_server.get("/page/start.json", headers={"Accept-Encoding": "gzip"})
    assert start.headers["Content-Encoding"] == "gzip"
    values = start.json()
    assert values["info"] == fake_server.get("/info").json() | {"total_requests_processed": ANY}
    assert values["models"][0]["id"] == values["info"]["model_name"]
    schemas = fake_server.get("/openapi.json").json()["components"]["schemas"]
    assert values["fields"] == schemas["GenerateBody"]["properties"]
    assert values["lora_fields"] == schemas["LoraChoice"]["properties"]
