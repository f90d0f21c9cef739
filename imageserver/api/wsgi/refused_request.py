"""Answers to requests that a server refuses before the application sees them, such as a malformed first line: as JSON.

gunicorn writes a page in HTML, gevent's own server an empty one, and neither sends the headers that keep a browser from
doing anything with it.
"""

import html
import json
import re
from typing import Any

PAGE = re.compile(
    r"HTTP/1\.1 (?P<status>\d+) .*?<h1><p>(?P<reason>.*?)</p></h1>\s*(?P<details>.*?)\s*</body>", re.DOTALL
)
HEADERS = (
    "HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n"
    # The application has not seen it.
    "Referrer-Policy: no-referrer\r\nServer-Timing: app;dur=0.0\r\n{more}\r\n"
)


def refusal(status: int | str, reason: str, sentence: str, code: str = "", more: str = "") -> bytes:
    """Return a whole answer that closes the connection; each of the `more` headers ends with a line break."""
    error = {"error": sentence, "code": code or reason.lower().replace(" ", "_"), "param": None, "request_id": None}
    body = json.dumps(error).encode()
    return HEADERS.format(status=status, reason=reason, length=len(body), more=more).encode() + body


SENTENCE = "This address has too many connections that are all at work (MAX_CONNECTIONS_PER_ADDRESS)."
TOO_MANY_CONNECTIONS = refusal(429, "Too Many Requests", SENTENCE, "too_many_connections", "Retry-After: 5\r\n")


class RefusedRequest:
    """A client's connection, on which the page that gunicorn sends becomes an error in JSON."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, page: bytes) -> None:
        self._client.sendall(as_json(page))


def as_json(page: bytes) -> bytes:
    """Return gunicorn's answer with its sentence as JSON; what is none of its pages stays as it is."""
    found = PAGE.match(page.decode("latin-1"))
    if found is None:
        return page
    reason, details = found["reason"], html.unescape(found["details"])
    return refusal(found["status"], reason, f"{reason}: {details.rstrip('.')}." if details else f"{reason}.")
