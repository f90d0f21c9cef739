"""Send requests to addresses that clients chose, but never into the server's own network."""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

# For the connection, and for each chunk of the response.
TIMEOUT_SECONDS = (5.0, 10.0)
MAX_URL_CHARACTERS = 8192
# Browsers read a backslash as a slash, others do not: the host would depend on the parser.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
# Python calls these global: IETF protocols (Oracle's metadata), Azure's host, two IPv4 gateways, old site-local.
NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "2002::/16", "fec0::/10")
]

# Returns the addresses of a host and a port that may be used; raises ValueError if there are none.
Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class OutgoingRequest:
    """A request that is ready to be sent, and its target."""

    request: requests.PreparedRequest
    scheme: str
    host: str
    port: int


def prepare(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> OutgoingRequest:
    """Return the request; raises ValueError unless `url` is an http address without a user name."""
    try:
        if UNSAFE.search(url) or len(url) > MAX_URL_CHARACTERS:
            raise ValueError
        request = requests.Request(method, url, headers=dict(headers), data=body).prepare()
        parts = urlsplit(request.url or "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        raise ValueError("it is not an http address") from None
    if "@" in parts.netloc:
        raise ValueError("it contains a user name")
    return OutgoingRequest(request, parts.scheme, parts.hostname or "", port)


@contextmanager
def response_to(
    outgoing: OutgoingRequest, resolve: Resolve, *, timeout: tuple[float, float] = TIMEOUT_SECONDS
) -> Iterator[requests.Response]:
    """Connect to the address that was checked, without a second look-up of the host; follow no redirects.

    Raises ValueError, OSError or urllib3's HTTPError, whose texts may quote the address. Uses no session, which would
    read the whole body of a redirect and take proxies and passwords from the environment.
    """
    adapter = _Pinned(outgoing.host) if outgoing.scheme == "https" else HTTPAdapter()
    addresses = resolve(outgoing.host, outgoing.port)
    with closing(adapter), _first_response(adapter, outgoing, addresses, timeout) as response:
        yield response


def reason_of(error: Exception) -> str:
    """Return the reason of a failed request; the texts of errors other than ours may quote the address."""
    return str(error) if type(error) is ValueError else type(error).__name__


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a host, public or not; raises ValueError if it is unknown."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError("its host is unknown") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host; raises ValueError unless every one of them is public."""
    addresses = addresses_of(host, port)
    if not all(is_public(address) for address in addresses):
        raise ValueError("it is not a public address")
    return addresses


def is_public(text: str) -> bool:
    """Return whether an IP address is public: not private, loopback, link-local, multicast or reserved.

    No IPv4 address inside an IPv6 address counts as public.
    """
    address = ipaddress.ip_address(text.split("%")[0])
    reserved = address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC)
    return address.is_global and not reserved


def _first_response(
    adapter: HTTPAdapter, outgoing: OutgoingRequest, addresses: list[str], timeout: tuple[float, float]
) -> requests.Response:
    """Try the addresses in order until one accepts the connection."""
    request, port = outgoing.request, outgoing.port
    parts = urlsplit(str(request.url))
    request.headers["Host"] = parts.netloc
    failure: requests.ConnectionError | None = None
    for address in addresses:
        shown = f"[{address}]" if ":" in address else address
        request.url = parts._replace(netloc=f"{shown}:{port}").geturl()
        try:
            return adapter.send(request, stream=True, timeout=timeout)
        except requests.ConnectionError as error:
            failure = error
    raise failure or ValueError("its host has no address")


class _Pinned(HTTPAdapter):
    """Connects to an address and checks the certificate of its host."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        """Tell urllib3 which host's certificate to expect."""
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **kwargs)  # type: ignore[arg-type]
