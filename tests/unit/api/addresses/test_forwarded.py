"""A trusted proxy says how its client reached it; nobody else is believed."""

import pytest

from imageserver.api.addresses.forwarded import ForwardedAddress, read_forwarded
from imageserver.web_addresses import TrustedProxies

NOTHING = ForwardedAddress()
TOLD = {
    "X-Forwarded-For": "203.0.113.5", "X-Forwarded-Host": "images.example", "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/qwen",
}  # fmt: skip


def read(headers, peer="10.0.0.1", trusted="10.0.0.0/8"):
    environ = {"REMOTE_ADDR": peer} | {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()}
    proxies = TrustedProxies(trusted)
    found = read_forwarded(environ, proxies)
    return found, proxies.client_of(peer, environ.get("HTTP_X_FORWARDED_FOR", ""))


def test_a_trusted_proxy_tells_scheme_host_and_path():
    assert read(TOLD) == (ForwardedAddress("https", "images.example", "/qwen"), "203.0.113.5")
    assert read(TOLD, peer="", trusted="unix") == (ForwardedAddress("https", "images.example", "/qwen"), "203.0.113.5")


@pytest.mark.parametrize(("peer", "trusted"), [("203.0.113.9", "10.0.0.0/8"), ("10.0.0.1", ""), ("", "10.0.0.0/8")])
def test_nobody_else_is_believed(peer, trusted):
    assert read(TOLD, peer, trusted) == (NOTHING, peer)
    assert read({"Forwarded": "for=203.0.113.5;host=evil.example"}, peer, trusted) == (NOTHING, peer)


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        # The client wrote the first one, and its proxy added its own.
        ({"X-Forwarded-For": "1.1.1.1, 203.0.113.5", "X-Forwarded-Host": "evil.example, images.example"},
         "images.example"),
        # Two proxies: each adds its own, or the last replaces them.
        ({"X-Forwarded-For": "203.0.113.5, 10.0.0.2", "X-Forwarded-Host": "images.example, inner"}, "images.example"),
        ({"X-Forwarded-For": "203.0.113.5, 10.0.0.2", "X-Forwarded-Host": "images.example"}, "images.example"),
        ({"X-Forwarded-Host": "images.example", "X-Forwarded-Port": "8443"}, "images.example:8443"),
        ({"X-Forwarded-Host": "images.example", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"},
         "images.example"),
        ({"X-Forwarded-Host": "images.example:8080", "X-Forwarded-Port": "443"}, "images.example:8080"),
    ],
)  # fmt: skip
def test_the_host_is_the_one_that_the_client_used(headers, host):
    assert read(headers)[0].host == host


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("X-Forwarded-Host", "evil.example/path"), ("X-Forwarded-Host", "user@evil.example"),
        ("X-Forwarded-Host", '"><script>'), ("X-Forwarded-Host", "a b"), ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Prefix", "//evil.example"), ("X-Forwarded-Prefix", "qwen"), ("X-Forwarded-Prefix", "/a?b"),
        ("X-Forwarded-Prefix", "/a//b"), ("X-Forwarded-Prefix", "/"), ("X-Forwarded-Prefix", "/a\\b"),
    ],
)  # fmt: skip
def test_what_is_no_host_scheme_or_path_counts_as_not_sent(name, text):
    assert read({name: text})[0] == NOTHING


@pytest.mark.parametrize(
    ("text", "address", "client"),
    [
        ("for=203.0.113.5;proto=https;host=images.example", ForwardedAddress("https", "images.example"), "203.0.113.5"),
        ('For="[2001:db8::1]:4711"; Host="images.example:8443"', ForwardedAddress("", "images.example:8443"),
         "2001:db8::1"),
        ("for=203.0.113.5;host=images.example, for=10.0.0.2;host=inner", ForwardedAddress("", "images.example"),
         "203.0.113.5"),
        ("for=1.1.1.1;host=evil.example, for=203.0.113.5;host=images.example", ForwardedAddress("", "images.example"),
         "203.0.113.5"),
        ("host=images.example;;", NOTHING, "10.0.0.1"), ('host="images.example', NOTHING, "10.0.0.1"),
    ],
)  # fmt: skip
def test_the_standard_header_says_the_same(text, address, client):
    assert read({"Forwarded": text}) == (address, client)


def test_the_standard_header_of_a_client_does_not_pass_beside_the_headers_of_its_proxy():
    found, client = read({"X-Forwarded-For": "203.0.113.5", "Forwarded": "for=1.1.1.1;host=evil.example"})
    assert (found, client) == (NOTHING, "203.0.113.5")
