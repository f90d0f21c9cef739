"""Answers to requests that gunicorn refuses before the application sees them, such as a malformed first line: as JSON.

gunicorn writes a page in HTML, without the headers that keep a browser from doing anything with it.
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
    "Referrer-Policy: no-referrer\r\n\r\n"
)


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
    sentence = f"{reason}: {details.rstrip('.')}." if details else f"{reason}."
    code = reason.lower().replace(" ", "_")
    body = json.dumps({"error": sentence, "code": code, "param": None, "request_id": None}).encode()
    return HEADERS.format(status=found["status"], reason=reason, length=len(body)).encode() + body
