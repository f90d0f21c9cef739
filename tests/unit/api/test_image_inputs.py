"""Where a client's picture may come from, and where it may not."""

import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from imageserver.api import remote_images
from imageserver.api.image_inputs import decode, fetch
from imageserver.api.remote_images import public_addresses
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

DATA = bytes(range(256))
SMALL = Settings(_env_file=None, max_image_mb=0.001)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(DATA).decode(),
        base64.b64encode(DATA).decode().rstrip("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.encodebytes(DATA).decode(),
        "data:image/png;base64," + base64.b64encode(DATA).decode(),
        "DATA:image/svg+xml;charset=utf-8;base64," + base64.b64encode(DATA).decode(),
        "data:;base64," + base64.b64encode(DATA).decode(),
    ],
)
def test_every_spelling_of_base64_is_read(text):
    assert decode(text, Settings(_env_file=None), name="image") == DATA


@pytest.mark.parametrize("text", ["", "    ", "data:image/png;base64,", "not base64!", "data:image/png,raw", "ä", "a"])
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(InvalidParameter) as caught:
        decode(text, Settings(_env_file=None), name="image")
    assert caught.value.param == "image"


def test_the_limit_is_named_and_counts_bytes_not_letters():
    most = int(0.001 * 2**20)
    assert len(decode(base64.b64encode(bytes(most)).decode(), SMALL, name="image")) == most
    with pytest.raises(InvalidParameter, match="MAX_IMAGE_MB"):
        decode(base64.b64encode(bytes(most + 1)).decode(), SMALL, name="image")


def test_web_addresses_are_refused_unless_the_owner_allows_them():
    service = SimpleNamespace(settings=Settings(_env_file=None))
    with pytest.raises(InvalidParameter, match="ALLOW_REMOTE_IMAGES"):
        fetch(service, "http://example.com/a.png", name="image")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1"]
)
def test_private_addresses_are_never_asked(host):
    with pytest.raises(ValueError, match="not a public address"):
        public_addresses(host, 80)


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        status, headers, body = {
            "/picture": (200, {}, DATA),
            "/large": (200, {}, bytes(100_000)),
            "/once": (302, {"Location": "/picture"}, b""),
            "/forever": (302, {"Location": "/forever"}, b""),
            "/inside": (302, {"Location": "http://inside.example/picture"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        }.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://outside.example:{server.server_port}"
    server.shutdown()
    server.server_close()


def resolve(host: str, port: int) -> list[str]:
    if host != "outside.example":
        raise ValueError("it is not a public address")
    return ["127.0.0.1"]


download = partial(remote_images.download, most_bytes=1000, name="image", resolve=resolve)


def test_an_allowed_address_is_read_also_behind_a_redirect(site):
    assert download(f"{site}/picture") == DATA
    assert download(f"{site}/once") == DATA


def test_reading_ends_one_byte_after_the_limit(site):
    assert len(download(f"{site}/large")) == 1001


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "answered 404"),
        ("/forever", "redirected more than 3 times"),
        ("/inside", "not a public address"),
        ("/file", "no http address"),
    ],
)
def test_what_cannot_or_must_not_be_opened_is_one_sentence(site, path, reason):
    with pytest.raises(InvalidParameter, match=reason) as caught:
        download(site + path)
    assert caught.value.param == "image"


def test_a_host_that_does_not_answer_is_one_sentence():
    with pytest.raises(InvalidParameter, match="cannot be opened"):
        download("http://outside.example:1/picture")
