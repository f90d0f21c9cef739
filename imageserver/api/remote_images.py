"""Open the web address of a picture without being led into the server's own network."""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import urljoin, urlsplit

import gevent
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.errors import InvalidParameter

MOST_REDIRECTS = 3
# Seconds for a connection, and for each piece of an answer.
REMOTE_TIMEOUT = (5.0, 10.0)
# Seconds for all of it: a site that sends a byte now and then would keep its client's request for ever.
LONGEST = 20.0
PIECE = 65536
LONGEST_ADDRESS = 8192
# Browsers read a backslash as a slash, others do not: the host would depend on who looks.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
HEADERS = {"User-Agent": f"qwen-image-server/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity"}
# Python calls these global: IETF's protocols (Oracle's metadata), Azure's host, two ways into IPv4, old site-local.
NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "2002::/16", "fec0::/10")
]

# Turns a host and a port into the addresses that may be asked; raises ValueError where none may.
Resolve = Callable[[str, int], list[str]]


def download(url: str, most_bytes: int, *, name: str, resolve: Resolve | None = None) -> bytes:
    """Return what lies at a web address, one byte more than `most_bytes` of it at the most.

    Only public addresses are asked, at every redirect anew. Waits on a greenlet, for 20 s at the most. Raises
    InvalidParameter naming the field, and never the address: it may hold a password.
    """
    data: bytes | None = gevent.with_timeout(
        LONGEST, _follow, url, most_bytes, name, resolve or public_addresses, timeout_value=None
    )
    if data is None:
        raise _unreachable(name, f"it took longer than {LONGEST:g} s")
    return data


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host; raises ValueError unless every one of them is public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError("its host is not known") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
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


def _follow(url: str, most_bytes: int, name: str, resolve: Resolve) -> bytes:
    try:
        for _ in range(MOST_REDIRECTS + 1):
            with _answer(url, resolve) as answer:
                if not answer.is_redirect:
                    if answer.status_code != 200:
                        raise ValueError(f"it answered {answer.status_code}")
                    return _body_of(answer, most_bytes)
                url = _joined(url, answer.headers["Location"])
        raise ValueError(f"it was redirected more than {MOST_REDIRECTS} times")
    except (OSError, ValueError, HTTPError) as error:
        # Other errors' own texts may quote the address.
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise _unreachable(name, reason) from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    # Its text may quote either.
    except ValueError:
        raise ValueError("it is no http address") from None


@contextmanager
def _answer(url: str, resolve: Resolve) -> Iterator[requests.Response]:
    """Open the address that was checked, not the one that its name may mean by then.

    No session: it would read a redirect's body to the end, and ask the environment for proxies and passwords.
    """
    request, scheme, host, port = _request(url)
    adapter = _Pinned(host) if scheme == "https" else HTTPAdapter()
    with closing(adapter), _first_answer(adapter, request, resolve(host, port), port) as answer:
        yield answer


def _request(url: str) -> tuple[requests.PreparedRequest, str, str, int]:
    """Return the request and its scheme, host and port; raises ValueError for anything but an http address."""
    try:
        if UNSAFE.search(url) or len(url) > LONGEST_ADDRESS:
            raise ValueError
        request = requests.Request("GET", url, headers=HEADERS).prepare()
        parts = urlsplit(request.url or "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        raise ValueError("it is no http address") from None
    if "@" in parts.netloc:
        raise ValueError("it holds a user name")
    return request, parts.scheme, parts.hostname or "", port


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
            return adapter.send(request, stream=True, timeout=REMOTE_TIMEOUT)
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


def _body_of(answer: requests.Response, most_bytes: int) -> bytes:
    """Return the body, or one byte more than the most: then it is too large, however long it would go on."""
    data = bytearray()
    # Read raw: `iter_content` reads the length of a chunk without any limit.
    while len(data) <= most_bytes and (piece := answer.raw.read(PIECE, decode_content=False)):
        data += piece
    return bytes(data[: most_bytes + 1])


def _unreachable(name: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"{name}: the web address cannot be opened: {reason}.", param=name)
