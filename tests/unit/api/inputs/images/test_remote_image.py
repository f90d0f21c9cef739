"""Web addresses of images: which are opened, and what a site cannot do."""

import datetime
import ssl
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imageserver.api.inputs.images import remote_image
from imageserver.api.outbound import safe_http
from imageserver.errors import InvalidParameter
from imageserver.settings import WORKING_DIR

DATA = bytes(range(256))


class SiteHandler(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        status, headers, body = {
            "/image": (200, {}, DATA),
            "/large": (200, {}, bytes(100_000)),
            "/endless": (200, {"Content-Length": str(10**12)}, bytes(100_000)),
            "/headers": (200, {}, str(self.headers).encode()),
            "/packed": (200, {"Content-Encoding": "gzip"}, DATA),
            "/short": (200, {"Content-Length": "300"}, DATA),
            "/endless-chunk-length": (200, {"Transfer-Encoding": "chunked"}, b"0" * 1_000_000),
            "/endless-redirect": (302, {"Location": "/image", "Content-Length": str(10**12)}, b""),
            "/once": (302, {"Location": "/image"}, b""),
            "/third": (302, {"Location": "/second"}, b""),
            "/second": (302, {"Location": "/once"}, b""),
            "/forever": (302, {"Location": "/forever"}, b""),
            "/inside": (302, {"Location": "http://inside.example/image"}, b""),
            "/wrong": (302, {"Location": "http://\u00bd.example/"}, b""),
            "/odd": (302, {"Location": "http://[secret/"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/named": (302, {"Location": "http://user:secret@outside.example/image"}, b""),
        }.get(self.path.partition("?")[0], (404, {}, b""))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if not (name == "Content-Length" and "Transfer-Encoding" in headers):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = "endless-redirect" not in self.path

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SiteHandler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(server):
    return f"http://outside.example:{server.server_port}"


def resolve(host: str, port: int) -> list[str]:
    if host != "outside.example":
        raise ValueError("it is not a public address")
    return ["127.0.0.1"]


download = partial(remote_image.download, max_bytes=1000, name="image", resolve=resolve)


def test_an_allowed_address_is_read_also_behind_redirects(site):
    assert download(f"{site}/image") == DATA
    assert download(f"{site}/once") == DATA
    assert download(f"{site}/third") == DATA


def test_a_redirect_s_own_body_is_not_waited_for(site):
    assert download(f"{site}/endless-redirect") == DATA


def test_reading_ends_one_byte_after_the_limit(site):
    assert len(download(f"{site}/large")) == 1001
    assert len(download(f"{site}/endless")) == 1001


def test_the_request_names_the_site_and_asks_for_an_uncompressed_image(site):
    sent = download(f"{site}/headers").decode().lower()
    assert f"host: {site.removeprefix('http://')}" in sent
    assert "accept: image/*" in sent
    assert "accept-encoding: identity" in sent
    assert "qwen-image-server/" in sent


def test_content_that_a_site_compresses_anyway_is_not_decompressed(site):
    assert download(f"{site}/packed") == DATA


def test_neither_proxies_nor_passwords_of_the_environment_are_used(site, monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("machine outside.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert "authorization" not in download(f"{site}/headers").decode().lower()


def test_the_next_address_is_tried_if_the_first_does_not_answer(site):
    assert download(f"{site}/image", resolve=lambda *_: ["::1", "127.0.0.1"]) == DATA


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "returned 404"),
        ("/forever", "redirected more than 3 times"),
        ("/inside", "not a public address"),
        ("/file", "not an http address"),
        ("/wrong", "not an http address"),
        ("/odd", "not an http address"),
        ("/named", "contains a user name"),
        ("/short", "cannot be opened"),
        ("/endless-chunk-length", "cannot be opened"),
    ],
)
def test_what_cannot_or_must_not_be_opened_is_one_sentence(site, path, reason):
    with pytest.raises(InvalidParameter, match=reason) as caught:
        download(site + path)
    assert caught.value.param == "image"


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    "url",
    [
        "http://", "http://:80/", "http://outside.example:99999/", "http://outside.example:port/", "http://[::1/",
        "http://a\\@127.0.0.1/", "http://outside.example/\r\nHost: inside", "http://\ud800/", "http://é\u3002.-/",
        "http://outside.example/" + "a" * 9000, "ftp://outside.example/", "file:///etc/passwd", "httpx://a/", "//a/b",
    ],
    ids=lambda url: ascii(url)[:40],
)  # fmt: skip
def test_invalid_addresses_are_never_requested(monkeypatch, url):
    monkeypatch.setattr(safe_http.HTTPAdapter, "send", lambda *_, **__: pytest.fail("It was asked."))
    with pytest.raises(InvalidParameter, match=r"^image: the web address cannot be opened"):
        download(url)


@pytest.mark.parametrize(
    "address",
    ["http://user:secret@{}/image", "http://{}/missing?key=secret", "http://{}:secret/", "http://secret.example/"],
)
def test_no_error_quotes_the_address_it_may_hold_a_password(server, address):
    host = f"outside.example:{server.server_port}" if ":secret/" not in address else "outside.example"
    with pytest.raises(InvalidParameter) as caught:
        download(address.format(host))
    assert "secret" not in str(caught.value)


def test_a_host_that_does_not_answer_is_one_sentence():
    with pytest.raises(InvalidParameter, match="cannot be opened"):
        download("http://outside.example:1/image")


# gevent's timeouts end only what waits for gevent, as in a worker.
DRIPPING = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent, gevent.server
from imageserver.api.inputs.images import remote_image
from imageserver.errors import InvalidParameter

beginning, drop = (text.encode() for text in sys.argv[1:])

def drip(connection, _):
    try:
        connection.sendall(beginning)
        while True:
            connection.sendall(drop)
            gevent.sleep(0.05)
    except OSError:
        pass

server = gevent.server.StreamServer(("127.0.0.1", 0), drip)
server.start()
remote_image.MAX_SECONDS = 1.0
url = f"http://outside.example:{server.server_port}/"
started = time.monotonic()
try:
    remote_image.download(url, 10**9, name="image", resolve=lambda *_: ["127.0.0.1"])
except InvalidParameter as error:
    print(error.sentence, time.monotonic() - started < 8)
"""


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [("", "H"), ("HTTP/1.1 200 OK\r\n", "A: b\r\n"), ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x")],
    ids=["status", "headers", "body"],
)
def test_a_site_that_sends_a_byte_now_and_then_times_out(beginning, drop):
    outcome = subprocess.run(
        [sys.executable, "-c", DRIPPING, beginning, drop], cwd=WORKING_DIR, capture_output=True, text=True, timeout=60
    )
    sentence = "image: the web address cannot be opened: it took longer than 1 s."
    assert outcome.stdout == f"{sentence} True\n", outcome.stderr


def certificate_for(host, folder):
    """Return the path of a key with its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("certified", "trusted"), [("outside", True), ("other", True), ("outside", False)])
def test_the_certificate_must_be_trusted_and_belong_to_the_host_although_the_request_goes_to_an_address(
    server, monkeypatch, tmp_path, certified, trusted
):
    certificate = certificate_for(f"{certified}.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    if trusted:
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))
    url = f"https://outside.example:{server.server_port}/image"
    if certified == "outside" and trusted:
        assert download(url) == DATA
    else:
        with pytest.raises(InvalidParameter, match="cannot be opened: SSLError"):
            download(url)
    assert set(names) == {"outside.example"}
