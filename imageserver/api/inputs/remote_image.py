"""Open the web address of an image."""

from urllib.parse import urljoin

import gevent
import requests
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.api.outbound.safe_http import Resolve, answer_to, prepare, public_addresses, reason_of
from imageserver.errors import InvalidParameter

MAX_REDIRECTS = 3
# Seconds for all of it: a site that sends a byte now and then would keep its client's request for ever.
MAX_SECONDS = 20.0
CHUNK_BYTES = 65536
HEADERS = {"User-Agent": f"qwen-image-server/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity"}


def download(url: str, most_bytes: int, *, name: str, resolve: Resolve | None = None) -> bytes:
    """Return what lies at a web address, one byte more than `most_bytes` of it at the most.

    Only public addresses are asked, at every redirect anew. Waits on a greenlet, for 20 s at the most. Raises
    InvalidParameter naming the field, and never the address: it may hold a password.
    """
    data: bytes | None = gevent.with_timeout(
        MAX_SECONDS, _follow, url, most_bytes, name, resolve or public_addresses, timeout_value=None
    )
    if data is None:
        raise _unreachable(name, f"it took longer than {MAX_SECONDS:g} s")
    return data


def _follow(url: str, most_bytes: int, name: str, resolve: Resolve) -> bytes:
    try:
        for _ in range(MAX_REDIRECTS + 1):
            with answer_to(prepare("GET", url, HEADERS), resolve) as answer:
                if not answer.is_redirect:
                    if answer.status_code != 200:
                        raise ValueError(f"it answered {answer.status_code}")
                    return _body_of(answer, most_bytes)
                url = _joined(url, answer.headers["Location"])
        raise ValueError(f"it was redirected more than {MAX_REDIRECTS} times")
    except (OSError, ValueError, HTTPError) as error:
        raise _unreachable(name, reason_of(error)) from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    # Its text may quote either.
    except ValueError:
        raise ValueError("it is no http address") from None


def _body_of(answer: requests.Response, most_bytes: int) -> bytes:
    """Return the body, or one byte more than the most: then it is too large, however long it would go on."""
    data = bytearray()
    # Read raw: `iter_content` reads the length of a chunk without any limit.
    while len(data) <= most_bytes and (piece := answer.raw.read(CHUNK_BYTES, decode_content=False)):
        data += piece
    return bytes(data[: most_bytes + 1])


def _unreachable(name: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"{name}: the web address cannot be opened: {reason}.", param=name)
