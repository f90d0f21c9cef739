"""Ask web addresses that clients have chosen without being led into the server's own network."""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

# Seconds for a connection, and for each piece of an answer.
TIMEOUT_SECONDS = (5.0, 10.0)
MAX_URL_CHARACTERS = 8192
# Browsers read a backslash as a slash, others do not: the host would depend on who looks.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
# Python calls these global: IETF's protocols (Oracle's metadata), Azure's host, two ways into IPv4, old site-local.
NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "2002::/16", "fec0::/10")
]

# Turns a host and a port into the addresses that may be asked; raises ValueError where none may.
Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Outgoing:
    """A request that is ready to be sent, and whom it is for."""

    request: requests.PreparedRequest
    scheme: str
    host: str
    port: int


def prepare(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Outgoing:
    """Return the request; raises ValueError for anything but an http address without a user's name."""
    try:
        if UNSAFE.search(url) or len(url) > MAX_URL_CHARACTERS:
            raise ValueError
        request = requests.Request(method, url, headers=dict(headers), data=body).prepare()
        parts = urlsplit(request.url or "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        raise ValueError("it is no http address") from None
    if "@" in parts.netloc:
        raise ValueError("it holds a user name")
    return Outgoing(request, parts.scheme, parts.hostname or "", port)


@contextmanager
def answer_to(outgoing: Outgoing, resolve: Resolve) -> Iterator[requests.Response]:
    """Ask the address that was checked, not the one that its name may mean by then; redirects are not followed.

    Raises ValueError, OSError or urllib3's HTTPError, whose texts may quote the address. No session: it would read a
    redirect's body to the end, and ask the environment for proxies and passwords.
    """
    adapter = _Pinned(outgoing.host) if outgoing.scheme == "https" else HTTPAdapter()
    addresses = resolve(outgoing.host, outgoing.port)
    with closing(adapter), _first_answer(adapter, outgoing.request, addresses, outgoing.port) as answer:
        yield answer


def reason_of(error: Exception) -> str:
    """Return what may be told of a failed request: other errors' own texts may quote the address."""
    return str(error) if type(error) is ValueError else type(error).__name__


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a host, whoever's they are; raises ValueError where it is not known."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError("its host is not known") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host; raises ValueError unless every one of them is public."""
    addresses = addresses_of(host, port)
    if not all(is_public(address) for address in addresses):
        raise ValueError("it is not a public address")
    return addresses


def is_public(text: str) -> bool:
    """Return whether an IP address is anybody's: not private, loopback, link-local, multicast or reserved.

    IPv4 addresses inside IPv6 ones are not public either, whatever they are.
    """
    address = ipaddress.ip_address(text.split("%")[0])
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in NOT_PUBLIC)


def _first_answer(
    adapter: HTTPAdapter, request: requests.PreparedRequest, addresses: list[str], port: int
) -> requests.Response:
    """Ask one address after the other until one takes the connection."""
    parts = urlsplit(str(request.url))
    request.headers["Host"] = parts.netloc
    failure: requests.ConnectionError | None = None
    for address in addresses:
        shown = f"[{address}]" if ":" in address else address
        request.url = parts._replace(netloc=f"{shown}:{port}").geturl()
        try:
            return adapter.send(request, stream=True, timeout=TIMEOUT_SECONDS)
        except requests.ConnectionError as error:
            failure = error
    raise failure or ValueError("its host has no address")


class _Pinned(HTTPAdapter):
    """Speaks to an address and checks the certificate of the host that it was looked up for."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        """Tell urllib3 whose certificate to expect."""
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **kwargs)  # type: ignore[arg-type]
