"""Download the image at a web address."""

from urllib.parse import urljoin

import gevent
import requests
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.api.outbound.safe_http import Resolve, prepare, public_addresses, reason_of, response_to
from imageserver.errors import InvalidParameter

MAX_REDIRECTS = 3
# For the whole download: a site that sends a byte now and then would hold the request forever.
MAX_SECONDS = 20.0
CHUNK_BYTES = 65536
HEADERS = {"User-Agent": f"qwen-image-server/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity"}


def download(url: str, max_bytes: int, *, name: str, resolve: Resolve | None = None) -> bytes:
    """Return the content at a web address, at most `max_bytes` + 1 bytes of it.

    Connects only to public addresses, also after redirects. Waits up to 20 s, on a greenlet. Raises InvalidParameter
    naming the field, but not the address, which may contain a password.
    """
    data: bytes | None = gevent.with_timeout(
        MAX_SECONDS, _follow, url, max_bytes, name, resolve or public_addresses, timeout_value=None
    )
    if data is None:
        raise _unreachable(name, f"it took longer than {MAX_SECONDS:g} s")
    return data


def _follow(url: str, max_bytes: int, name: str, resolve: Resolve) -> bytes:
    try:
        for _ in range(MAX_REDIRECTS + 1):
            with response_to(prepare("GET", url, HEADERS), resolve) as response:
                if not response.is_redirect:
                    if response.status_code != 200:
                        raise ValueError(f"it returned {response.status_code}")
                    return _body_of(response, max_bytes)
                url = _joined(url, response.headers["Location"])
        raise ValueError(f"it was redirected more than {MAX_REDIRECTS} times")
    except (OSError, ValueError, HTTPError) as error:
        raise _unreachable(name, reason_of(error)) from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    # The text of the error may quote the address.
    except ValueError:
        raise ValueError("it is not an http address") from None


def _body_of(response: requests.Response, max_bytes: int) -> bytes:
    """Return the body, or its first `max_bytes` + 1 bytes if it is longer."""
    data = bytearray()
    # Read raw: `iter_content` reads the length of a chunk without a limit.
    while len(data) <= max_bytes and (chunk := response.raw.read(CHUNK_BYTES, decode_content=False)):
        data += chunk
    return bytes(data[: max_bytes + 1])


def _unreachable(name: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"{name}: the web address cannot be opened: {reason}.", param=name)
