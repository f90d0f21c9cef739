"""Open the web address of a picture without being led into the server's own network."""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from imageserver.errors import InvalidParameter

MOST_REDIRECTS = 3
# Seconds for a server to answer, and for each piece of its answer.
REMOTE_TIMEOUT = (5.0, 10.0)
PIECE = 65536

# Turns a host and a port into the addresses that may be asked; raises ValueError where none may.
Resolve = Callable[[str, int], list[str]]


def download(url: str, most_bytes: int, *, name: str, resolve: Resolve | None = None) -> bytes:
    """Return what lies at a web address, one byte more than `most_bytes` of it at the most.

    Only public addresses are asked, at every redirect anew. Raises InvalidParameter naming the field.
    """
    for _ in range(MOST_REDIRECTS + 1):
        answer = _ask(url, name, resolve or public_addresses)
        with answer:
            if answer.is_redirect:
                url = urljoin(url, answer.headers["Location"])
                continue
            if answer.status_code != 200:
                raise _unreachable(name, f"it answered {answer.status_code}")
            try:
                return _body_of(answer, most_bytes)
            except requests.RequestException as error:
                raise _unreachable(name, type(error).__name__) from None
    raise _unreachable(name, f"it was redirected more than {MOST_REDIRECTS} times")


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host; raises ValueError unless every one of them is public."""
    found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    if not all(ipaddress.ip_address(address.split("%")[0]).is_global for address in found):
        raise ValueError("it is not a public address")
    return found


def _ask(url: str, name: str, resolve: Resolve) -> requests.Response:
    """Open the address that was checked, not the one that its name may mean by then."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is no http address")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        address = resolve(parts.hostname, port)[0]
        session = requests.Session()
        session.trust_env = False  # a proxy would resolve the name anew
        session.mount("https://", _Pinned(parts.hostname))
        shown = f"[{address}]" if ":" in address else address
        pinned = parts._replace(netloc=f"{shown}:{port}").geturl()
        host = parts.hostname if port in (80, 443) else f"{parts.hostname}:{port}"
        return session.get(pinned, headers={"Host": host}, allow_redirects=False, stream=True, timeout=REMOTE_TIMEOUT)
    except (OSError, ValueError, requests.RequestException) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise _unreachable(name, reason) from None


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
    for piece in answer.iter_content(PIECE):
        data += piece
        if len(data) > most_bytes:
            break
    return bytes(data[: most_bytes + 1])


def _unreachable(name: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"{name}: the web address cannot be opened: {reason}.", param=name)
