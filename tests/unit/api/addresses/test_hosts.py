"""A server without keys answers to its own names and addresses, and to those that its owner allows."""

import socket

import pytest

from imageserver.api.addresses.hosts import allowed_hosts
from imageserver.settings import Settings


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Gpu7.lan")


def hosts(**settings):
    return allowed_hosts(Settings(_env_file=None, **settings))


@pytest.mark.parametrize(
    "header",
    [
        "", "localhost", "LOCALHOST.:5000", "images.localhost", "127.0.0.1:5000", "127.1", "[::1]:5000",
        "192.168.0.5", "[fe80::1]", "gpu7", "gpu7.local:5000", "gpu7.lan", "host.docker.internal:5000",
    ],
)  # fmt: skip
def test_the_names_and_addresses_of_this_machine_are_its_own(header):
    assert hosts().allows(header)


@pytest.mark.parametrize(
    "header",
    [
        "evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost",
        "gpu7.evil.example", "gpu8", "localhost@evil.example", "localhost,evil.example", "local host", "::1",
        "docker.internal", "evil.example/localhost", "localhost:evil",
    ],
)  # fmt: skip
def test_other_names_are_foreign(header):
    assert not hosts().allows(header)


@pytest.mark.parametrize(
    ("allowed", "header", "is_allowed"),
    [
        ("images.example", "Images.example:8080", True),
        ("images.example", "www.images.example", False),
        ("a.example, b.example", "b.example", True),
        ("*.example", "images.example", True),
        ("*.example", "deep.images.example", True),
        ("*.images.example", "images.example", False),
        (".images.example", "images.example", True),
        (".images.example", "www.images.example", True),
        ("*.example", "evil-example", False),
        ("image_server", "image_server:5000", True),
        ("*", "anything.example", True),
    ],
)
def test_allowed_hosts_adds_names_and_whole_domains(allowed, header, is_allowed):
    assert hosts(allowed_hosts=allowed).allows(header) is is_allowed


def test_the_hosts_of_public_url_and_host_are_allowed():
    chosen = hosts(public_url="https://images.example:8443/path", host="gpu.example")
    assert chosen.allows("images.example")
    assert chosen.allows("gpu.example:5000")
    assert not chosen.allows("example")
