"""Behind nginx and Caddy with the files of deploy/: TLS, a path before every address, event streams, WebSockets."""

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
import websocket

from tests.support.caddy import Caddy
from tests.support.certificate import HOST, IS_POSSIBLE
from tests.support.nginx import Nginx
from tests.support.proxy import PREFIX, Proxy
from tests.support.server import Server

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="there is no openssl")

KEY = "a-key-of-the-tests"
IMAGE = {"prompt": "a red circle", "size": "64x64", "num_inference_steps": 2, "cache": False, "save_to_file": True}


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server]) -> Server:
    """A server that knows its public name from nobody but the proxy."""
    # It takes larger bodies than the proxies pass.
    return servers(TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS=HOST, MAX_BODY_MB="64")


@pytest.fixture(scope="module", params=[Nginx, Caddy], ids=["nginx", "Caddy"])
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if request.param.executable is None:
        pytest.skip(f"there is no {request.param.name} (Debian: apt-get install {request.param.name})")
    started = request.param(tmp_path_factory.mktemp("proxy"), server.port)
    yield started
    started.stop()


class ProxiedClient(http.client.HTTPSConnection):
    """A client for whom the host of the proxy is on this machine."""

    def __init__(self, proxy: Proxy, name: str = HOST) -> None:
        super().__init__(name, proxy.port, timeout=30, context=ssl.create_default_context(cafile=proxy.certificate))
        self._port_here = proxy.port

    def connect(self) -> None:
        self.sock = self._context.wrap_socket(
            socket.create_connection(("127.0.0.1", self._port_here), 30), server_hostname=self.host
        )

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body)
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.request(method, path, content, {"Content-Type": "application/json"} | named)
        return self.getresponse()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[ProxiedClient]:
    connected = ProxiedClient(proxy)
    yield connected
    connected.close()


def test_the_page_and_the_documentation_find_their_files(client):
    for page in ("", "docs"):
        answer = client.ask("GET", f"{PREFIX}/{page}", Accept="text/html")
        found = re.findall(r'(?:src|href)="([^"]+)"', answer.read().decode())
        assert answer.status == 200
        assert len(found) > 2
        for address in found:
            part = client.ask("GET", f"{PREFIX}/{address}")
            assert (part.read() != b"", part.status) == (True, 200), address
    assert json.load(client.ask("GET", f"{PREFIX}/openapi.json"))["servers"] == [{"url": "."}]


def test_the_link_of_a_saved_image_leads_to_it(client, proxy):
    # A proxy replaces what a client says of itself.
    claims = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "http", "X_Forwarded_Prefix": "/evil",
              "Forwarded": "host=evil.example"}  # fmt: skip
    answer = json.load(client.ask("POST", f"{PREFIX}/generate", IMAGE, **claims))
    assert answer["url"].startswith(proxy.url + "images/")
    image = client.ask("GET", answer["url"].removeprefix(f"https://{HOST}:{proxy.port}"))
    assert image.read().startswith(b"\x89PNG")


def test_a_page_of_this_address_may_use_the_server_and_another_may_not(client, proxy):
    own = client.ask("POST", f"{PREFIX}/generate", IMAGE, Origin=f"https://{HOST}:{proxy.port}")
    assert (own.read() != b"", own.status) == (True, 200)
    foreign = client.ask("POST", f"{PREFIX}/generate", IMAGE, Origin="https://evil.example")
    assert (json.load(foreign)["code"], foreign.status) == ("foreign_origin", 403)


def test_events_arrive_while_the_image_is_generated(client, server):
    body = {"prompt": "[step=0.1] streamed through a proxy", "size": "64x64", "num_inference_steps": 20, "stream": True,
            "partial_images": 2}  # fmt: skip
    answer = client.ask("POST", f"{PREFIX}/v1/images/generations", body)
    while not answer.readline().startswith(b"event: image_generation.partial_image"):
        pass
    assert server.job_with("streamed through a proxy")["state"] == "processing"
    assert b"event: image_generation.completed" in answer.read()


def test_a_body_over_the_limit_ends_at_the_proxy_and_one_below_it_passes(client, proxy):
    passed = client.ask("POST", f"{PREFIX}/generate", IMAGE | {"prompt": "x" * 3_000_000})
    assert json.load(passed)["param"] == "prompt", "the server's own limit"
    assert passed.headers["X-Request-Id"]
    refused = ProxiedClient(proxy)
    # nginx answers before it has read all of it, and closes.
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        refused.request("POST", f"{PREFIX}/generate", b" " * (33 * 2**20), {"Content-Type": "application/json"})
    answer = refused.getresponse()
    # Caddy 2.6 says 502; by default the server, whose limit is the same, answers 413 before that.
    assert (answer.status in (413, 502), answer.headers["X-Request-Id"]) == (True, None)
    refused.close()


def test_a_websocket_passes(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as plain:
        context = ssl.create_default_context(cafile=proxy.certificate)
        connection = websocket.create_connection(
            f"wss://{HOST}:{proxy.port}{PREFIX}/ws/generate",
            socket=context.wrap_socket(plain, server_hostname=HOST), origin=f"https://{HOST}:{proxy.port}", timeout=30,
        )  # fmt: skip
        connection.send(json.dumps(IMAGE))
        while (frame := json.loads(connection.recv()))["type"] not in ("result", "error"):
            pass
        connection.close()
    assert frame["data"]["url"].startswith(proxy.url + "images/")


def test_a_name_that_is_not_ours_is_not_served(client, proxy):
    # Closed by nginx, refused without a word by Caddy.
    with contextlib.suppress(http.client.RemoteDisconnected):
        answer = client.ask("GET", f"{PREFIX}/info", Host="evil.example")
        assert (answer.status, answer.read()) == (421, b"")
    with pytest.raises(ssl.SSLError):
        ProxiedClient(proxy, "evil.example").connect()


def test_who_sends_such_headers_without_a_proxy_is_not_believed(servers):
    """With keys, a server answers to any name, but puts none of them into a link."""
    direct = servers(API_KEYS=KEY, TRUSTED_PROXIES="192.0.2.1")
    claims = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
              "X-Forwarded-Prefix": "/evil", "Forwarded": "host=evil.example", "X-API-Key": KEY}  # fmt: skip
    answer = direct.ask("POST", "/generate", json=IMAGE, headers=claims, timeout=30)
    assert answer.json()["url"].startswith(f"{direct.url}/images/")
