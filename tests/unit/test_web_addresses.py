"""Hosts and origins are read as browsers write them."""

import pytest

from imageserver.web_addresses import Host, Origin, is_ip_literal, is_loopback, parse_host, parse_origin


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", Host("localhost")), ("LOCALHOST.:5000", Host("localhost", 5000)), ("a_b", Host("a_b")),
        ("[::1]:80", Host("[::1]", 80)), ("[FE80::1]", Host("[fe80::1]")), ("127.0.0.1", Host("127.0.0.1")),
        ("::1", None), ("a:0", None), ("a:65536", None), ("a:", None), ("a b", None), ("a,b", None), ("", None),
        ("user@a", None), ("a/b", None), ("[gg::1]", None), ("a\n", None), ("é", None),
    ],
)  # fmt: skip
def test_a_host_is_a_name_and_perhaps_a_port(text, host):
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.example", Origin("https", Host("app.example", 443))),
        ("http://app.example:80", Origin("http", Host("app.example", 80))),
        ("http://[::1]:5000", Origin("http", Host("[::1]", 5000))),
        ("chrome-extension://abcdef", Origin("chrome-extension", Host("abcdef"))),
        ("null", None), ("", None), ("file://", None), ("https://a.example/", None), ("https://a.example/path", None),
        ("https://a, https://b", None), ("https://user@a", None), ("//a", None),
    ],
)  # fmt: skip
def test_an_origin_is_a_scheme_and_a_host_without_a_path(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "0x7f000001", "192.168.0.5", "[::1]", "[fe80::1]", "0.0.0.0"])
def test_addresses_are_no_names(name):
    assert is_ip_literal(name)


@pytest.mark.parametrize("name", ["127.0.0.1.evil.example", "localhost", "a", "[evil]", "1.2.3.4.5", "dead.beef"])
def test_names_are_no_addresses(name):
    assert not is_ip_literal(name)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("LocalHost.", True), ("a.localhost", True), ("0.0.0.0", False), ("::", False), ("192.168.0.5", False),
        ("", False), ("localhost.example", False), ("128.0.0.1", False),
    ],
)  # fmt: skip
def test_loopback_is_this_machine_only(name, is_one):
    assert is_loopback(name) is is_one
