"""Links begin with the address that clients use, and never with a host that somebody made up."""

from types import SimpleNamespace

import flask
import pytest

from imageserver.api.addresses.links import Links
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.settings import Settings

KEY = "a-key-of-the-tests"
SOCKET = SimpleNamespace(getsockname=lambda: ("192.0.2.7", 5000))


def root(host, *, socket=SOCKET, **settings):
    links = Links(Settings(_env_file=None, api_keys=KEY, **settings))
    environ = {"HTTP_HOST": host, SOCKET_KEY: socket}
    with flask.Flask("links").test_request_context("/generate", environ_overrides=environ):
        return links.root()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:5000", "http://localhost:5000"), ("10.0.0.5:5000", "http://10.0.0.5:5000"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]"), ("images.example", "http://images.example"),
    ],
)  # fmt: skip
def test_a_host_of_the_server_begins_them(host, expected):
    assert root(host, allowed_hosts="images.example") == expected


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost/evil", "a b", '"', ""])
def test_another_host_does_not(host):
    assert root(host) == "http://192.0.2.7:5000"


def test_without_a_socket_of_an_address_the_server_s_own_name_begins_them():
    assert root("evil.example", socket=SimpleNamespace(getsockname=lambda: "/run/images.sock")) == "http://localhost:80"
    assert root("evil.example", socket=SimpleNamespace(getsockname=lambda: ("::1", 80, 0, 0))) == "http://[::1]:80"


def test_public_url_begins_them_whatever_the_host_is():
    for host in ("evil.example", "localhost"):
        assert root(host, public_url="https://images.example/qwen/") == "https://images.example/qwen"
