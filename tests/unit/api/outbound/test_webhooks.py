"""Webhooks are sent only to allowed hosts, with a signature that a receiver can check."""

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import gevent
import pytest

from imageserver.api.outbound import safe_http, webhooks
from imageserver.api.outbound.webhooks import WebhookFailed, WebhookHosts, WebhookSender, read_webhooks
from imageserver.errors import InvalidParameter
from imageserver.settings import WORKING_DIR, Settings

SECRET = b"a secret of sixteen and more"
BODY = b'{"task_id":"7"}'


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    server.got, server.status = [], 204
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sender(hosts="public"):
    return WebhookSender(SECRET, WebhookHosts(hosts), clock=lambda: 1700000000.7)


def test_a_receiver_with_the_secret_can_check_the_signature(receiver):
    sender("127.0.0.1").send(f"http://127.0.0.1:{receiver.server_port}/hook?x=1", BODY, webhook_id="7")
    [(path, headers, body)] = receiver.got
    expected = hmac.new(SECRET, b"1700000000." + body, hashlib.sha256).hexdigest()
    assert (path, body, headers["Content-Type"]) == ("/hook?x=1", BODY, "application/json")
    assert (headers["X-Webhook-Id"], headers["X-Webhook-Timestamp"]) == ("7", "1700000000")
    assert headers["X-Webhook-Signature"] == f"sha256={expected}"
    assert headers["User-Agent"].startswith("qwen-image-server/")
    assert "Authorization" not in headers


def test_the_documented_check_accepts_only_genuine_webhooks(receiver):
    text = (WORKING_DIR / "docs" / "dialects.md").read_text(encoding="utf-8")
    [code] = [block.partition("```")[0] for block in text.split("```python\n") if "def is_genuine" in block]
    documented: dict = {}
    exec(code, documented)
    genuine = WebhookSender(SECRET, WebhookHosts("127.0.0.1"))
    genuine.send(f"http://127.0.0.1:{receiver.server_port}/", BODY, webhook_id="7")
    sender("127.0.0.1").send(f"http://127.0.0.1:{receiver.server_port}/", BODY, webhook_id="7")
    [(_, headers, body), (_, old, _)] = receiver.got
    assert documented["is_genuine"](headers, body, SECRET.decode())
    assert not documented["is_genuine"](headers, body + b" ", SECRET.decode())
    assert not documented["is_genuine"](headers, body, "another")
    assert not documented["is_genuine"](headers | {"X-Webhook-Timestamp": "1"}, body, SECRET.decode())
    assert not documented["is_genuine"](old, body, SECRET.decode())


@pytest.mark.parametrize("status", [300, 302, 404, 410, 500])
def test_anything_but_2xx_is_a_failure_and_redirects_are_not_followed(receiver, status):
    receiver.status = status
    with pytest.raises(WebhookFailed, match=f"returned {status}"):
        sender("127.0.0.1").send(f"http://127.0.0.1:{receiver.server_port}/hook", BODY, webhook_id="7")
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest", "http://10.0.0.1/",
        "http://0x7f000001/", "http://2130706433/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/",
        "http://8.8.8.8\\@127.0.0.1/", "http://user:password@8.8.8.8/", "file:///etc/passwd", "ftp://8.8.8.8/",
        "", "8.8.8.8",
        "http://8.8.8.8/\r\nX: y", "http://8.8.8.8/" + "a" * 9000, "http://8.8.8.8:99999/", "http:///", "\ud800",
    ],
    ids=lambda url: ascii(url)[:40],
)  # fmt: skip
def test_the_server_s_own_network_is_refused_before_anything_is_sent(monkeypatch, url):
    monkeypatch.setattr(safe_http.HTTPAdapter, "send", lambda *_, **__: pytest.fail("It was asked."))
    with pytest.raises(InvalidParameter, match=r"^webhook_url cannot be used: ") as caught:
        sender().check(url, name="webhook_url")
    assert caught.value.param == "webhook_url"
    assert "password" not in caught.value.sentence
    with pytest.raises(WebhookFailed):
        sender().send(url, BODY, webhook_id="7")


def test_public_addresses_are_allowed_unless_the_owner_lists_hosts():
    sender().check("http://8.8.8.8/hook", name="webhook_url")
    sender("public,10.0.0.1").check("https://8.8.8.8/hook", name="webhook_url")
    with pytest.raises(InvalidParameter, match="not in WEBHOOK_HOSTS"):
        sender("10.0.0.1").check("http://8.8.8.8/hook", name="webhook_url")
    with pytest.raises(InvalidParameter, match="WEBHOOK_HOSTS"):
        sender("").check("http://8.8.8.8/hook", name="webhook_url")


@pytest.mark.parametrize(
    ("hosts", "url", "may"),
    [
        ("127.0.0.1", "http://127.0.0.1:81/", True),
        ("127.0.0.1:81", "http://127.0.0.1:81/", True),
        ("127.0.0.1:81", "http://127.0.0.1:82/", False),
        ("LOCALHOST", "http://localhost/", True),
        ("localhost", "http://127.0.0.1/", False),
        ("localhost:80", "http://localhost/", True),
        ("localhost:443", "https://localhost/", True),
        ("[::1]:81", "http://[::1]:81/", True),
        ("a.example, 127.0.0.1", "http://127.0.0.1/", True),
        ("127.0.0.1", "http://127.0.0.1.example.invalid/", False),
    ],
)
def test_the_owner_can_allow_hosts_of_the_own_network_by_name_and_port(hosts, url, may):
    if may:
        sender(hosts).check(url, name="webhook_url")
    else:
        with pytest.raises(InvalidParameter):
            sender(hosts).check(url, name="webhook_url")


def test_the_host_is_looked_up_again_before_each_attempt(monkeypatch):
    monkeypatch.setattr(safe_http, "addresses_of", lambda *_: ["8.8.8.8"])
    rebound = sender()
    rebound.check("http://rebound.example/", name="webhook_url")
    monkeypatch.setattr(safe_http, "addresses_of", lambda *_: ["127.0.0.1"])
    with pytest.raises(WebhookFailed, match="not a public address"):
        rebound.send("http://rebound.example/", BODY, webhook_id="7")


def test_slow_look_ups_and_slow_receivers_time_out(monkeypatch):
    monkeypatch.setattr(webhooks, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "MAX_LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "addresses_of", lambda *_: gevent.sleep(60))
    with pytest.raises(InvalidParameter, match="the look-up of its host took too long"):
        sender("slow.example").check("http://slow.example/", name="webhook_url")
    with pytest.raises(WebhookFailed, match=r"longer than 0\.05 s"):
        sender("slow.example").send("http://slow.example/", BODY, webhook_id="7")


def test_the_error_for_an_unreachable_receiver_does_not_quote_its_address():
    with pytest.raises(WebhookFailed, match="cannot be reached: ConnectionError") as caught:
        sender("127.0.0.1").send("http://127.0.0.1:1/hook?password", BODY, webhook_id="7")
    assert "password" not in str(caught.value)


def test_without_a_secret_or_a_network_nothing_is_sent():
    secret = SECRET.decode()
    assert read_webhooks(Settings(_env_file=None)) is None
    assert read_webhooks(Settings(_env_file=None, webhook_secret=secret, offline=True)) is None
    assert read_webhooks(Settings(_env_file=None, webhook_secret=secret)) is not None
