"""Requests for clients never reach the server's own network."""

import socket

import pytest

from imageserver.api.outbound.safe_http import is_public, public_addresses


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1"]
)
def test_private_addresses_are_never_used(host):
    with pytest.raises(ValueError, match="not a public address"):
        public_addresses(host, 80)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "168.63.129.16", "100.100.100.200",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
        "2002:7f00:1::", "2001:0:1::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1%eth0", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_of_networks_machines_and_groups_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


def test_one_private_address_among_public_ones_is_enough_to_refuse_a_host(monkeypatch):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(ValueError, match="not a public address"):
        public_addresses("example.com", 80)
    del answers[1]
    assert public_addresses("example.com", 80) == ["8.8.8.8"]


def unknown(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("host", ["unknown.example", "a" * 70, "a..b"])
def test_an_unknown_host_is_an_error(monkeypatch, host):
    if host == "unknown.example":
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ValueError, match="host is unknown"):
        public_addresses(host, 80)
