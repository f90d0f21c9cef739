"""What a page of another origin can do with the server, in a real browser: nothing, unless its owner allows it."""

import http.server
import threading

import pytest
from playwright.sync_api import expect

from tests.support.server import free_port

KEY = "a-key-of-the-tests"
UNLOAD = """(server) => fetch(server + "/v1/models/unload", {
  method: "POST", mode: "no-cors", body: '{"model": "fake"}',
}).then((answer) => answer.type)"""
SUBMIT_FORM = """(server) => new Promise((resolve) => {
  const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), {name: "hidden"}));
  const form = document.body.appendChild(document.createElement("form"));
  Object.assign(form, {method: "POST", action: server + "/sdapi/v1/txt2img", enctype: "text/plain", target: "hidden"});
  const field = {name: '{"prompt": "forged", "seed": 1, "x', value: '": 1}'};
  form.append(Object.assign(document.createElement("input"), field));
  frame.onload = () => resolve("answered");
  form.submit();
})"""
READ = """(server) => fetch(server + "/v1/jobs").then((answer) => answer.text()).catch(() => "unreadable")"""
FOLLOW = """(server) => new Promise((resolve) => {
  const events = new EventSource(server + "/v1/jobs/1/events");
  events.onmessage = () => resolve("read");
  events.onerror = () => { events.close(); resolve("unreadable"); };
})"""
CONNECT = """(server) => new Promise((resolve) => {
  const socket = new WebSocket(server.replace("http", "ws") + "/ws/generate");
  socket.onopen = () => resolve("open");
  socket.onclose = () => resolve("refused");
})"""
GENERATE = """([server, key]) => fetch(server + "/generate", {
  method: "POST",
  headers: {"Content-Type": "application/json", "Authorization": "Bearer " + key, "Idempotency-Key": "once"},
  body: JSON.stringify({prompt: "from another origin", seed: 7, size: "64x64", num_inference_steps: 1}),
}).then(async (answer) => ({
  status: answer.status, seed: answer.headers.get("X-Seed"), id: answer.headers.get("X-Request-Id"),
  bytes: (await answer.blob()).size,
})).catch(() => "refused")"""


PUT_TASK = """([server, key]) => fetch(server + "/v1/tasks/" + crypto.randomUUID(), {
  method: "PUT",
  headers: {"Content-Type": "application/json", "Authorization": "Bearer " + key},
  body: JSON.stringify({prompt: "from another origin", seed: 7, size: "64x64", num_inference_steps: 1}),
}).then((answer) => answer.status).catch(() => "refused")"""


class Blank(http.server.BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def elsewhere():
    """The port of a site that is not the server's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Blank) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


@pytest.fixture
def visit(browser):
    """Open any address in a context of its own."""
    contexts = []

    def open_page(address):
        # A rebound page keeps the policy of the site that sent it, which is not this server's.
        contexts.append(browser.new_context(bypass_csp=True))
        page = contexts[-1].new_page()
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


# Of another site, and of the same site on another port.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_foreign_page_changes_nothing_and_reads_nothing(fake_server, elsewhere, visit, host):
    page = visit(f"http://{host}:{elsewhere}")
    before = fake_server.get("/v1/jobs").json()["data"]
    assert page.evaluate(UNLOAD, fake_server.url) == "opaque"
    assert page.evaluate(SUBMIT_FORM, fake_server.url) == "answered"
    assert page.evaluate(GENERATE, [fake_server.url, KEY]) == "refused"
    assert page.evaluate(READ, fake_server.url) == "unreadable"
    assert page.evaluate(FOLLOW, fake_server.url) == "unreadable"
    assert page.evaluate(CONNECT, fake_server.url) == "refused"
    assert fake_server.get("/v1/jobs").json()["data"] == before
    assert fake_server.health()["model_loaded"]


def test_an_allowed_page_uses_the_server_and_another_one_does_not(start, elsewhere, visit):
    server = start(ALLOWED_ORIGINS=f"http://localhost:{elsewhere}", API_KEYS=KEY)
    page = visit(f"http://localhost:{elsewhere}")
    answer = page.evaluate(GENERATE, [server.url, KEY])
    assert (answer["status"], answer["seed"], answer["bytes"] > 0) == (200, "7", True)
    assert answer["id"].isdigit()
    assert page.evaluate(PUT_TASK, [server.url, KEY]) == 200
    assert page.evaluate(GENERATE, [server.url, "a-wrong-key-of-the-tests"])["status"] == 401
    assert page.evaluate(CONNECT, server.url) == "refused"  # without a key
    foreign = visit(f"http://127.0.0.1:{elsewhere}")
    assert foreign.evaluate(GENERATE, [server.url, KEY]) == "refused"


def test_a_page_under_a_rebound_name_reads_nothing(fake_server, visit):
    page = visit(f"http://evil.example:{fake_server.port}/livez")
    assert page.evaluate("document.body.innerText.trim()") == '{"status":"alive"}'
    # Of the same origin as the server, and still refused.
    assert '"foreign_host"' in page.evaluate("fetch('/v1/jobs').then((answer) => answer.text())")
    assert page.evaluate(GENERATE, ["", KEY])["status"] == 421
    assert page.evaluate(CONNECT, f"http://evil.example:{fake_server.port}") == "refused"


def test_the_documentation_and_an_image_are_shown_under_their_policies(fake_server, opened):
    page = opened(fake_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.goto(f"{fake_server.url}/docs")
    expect(page.get_by_text("/v1/images/generations")).to_be_visible()
    page.goto(fake_server.generate(size="64x64", num_inference_steps=1, save_to_file=True).json()["url"])
    assert page.evaluate("document.images[0].naturalWidth") == 64
