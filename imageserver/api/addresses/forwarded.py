"""What a trusted proxy says about the request that it received: X-Forwarded-* or Forwarded (RFC 7239).

A proxy passes on headers that it does not know, so `Forwarded` counts only where no X-Forwarded-* header is sent: a
client could name anything in the one that its proxy does not write.
"""

import re
from dataclasses import dataclass
from typing import Any

from imageserver.web_addresses import DEFAULT_PORTS, TrustedProxies, entries, parse_host

FOR, HOST, PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO"
PORT, PREFIX = "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PREFIX"
STANDARD = "HTTP_FORWARDED"
PAIR = re.compile(r'\s*(?P<name>[A-Za-z]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*(?P<end>[;,]|$)')
# One slash at the beginning: two would begin the name of another host.
PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True)
class ForwardedAddress:
    """The scheme, host and path under which a client reached the proxy; a part that is not known is empty."""

    scheme: str = ""
    host: str = ""
    prefix: str = ""


def read_forwarded(environ: dict[str, Any], proxies: TrustedProxies) -> ForwardedAddress:
    """Return what the proxy says, or nothing of a peer that is not a trusted one.

    Each proxy of a chain may add an entry: the one that counts was written by the proxy that the client talked to.
    """
    if not proxies.trust(environ.get("REMOTE_ADDR", "")):
        return ForwardedAddress()
    _translate(environ)
    proxied = 1
    for address in reversed(entries(environ.get(FOR, ""))):
        if not proxies.trust(address):
            break
        proxied += 1
    scheme = SCHEMES.get(_entry(environ, PROTO, proxied).lower(), "")
    prefix = _entry(environ, PREFIX, proxied).rstrip("/")
    return ForwardedAddress(
        scheme=scheme,
        host=_host(_entry(environ, HOST, proxied), _entry(environ, PORT, proxied), scheme),
        prefix=prefix if PATH.fullmatch(prefix) else "",
    )


def _entry(environ: dict[str, Any], name: str, proxied: int) -> str:
    """Return the entry that so many proxies have added to; a proxy may also replace all of them by one."""
    given = entries(environ.get(name, ""))
    return given[-min(proxied, len(given))] if given else ""


def _host(text: str, port: str, scheme: str) -> str:
    host = parse_host(text)
    if host is None:
        return ""
    number = host.port or (int(port) if re.fullmatch("[0-9]{1,5}", port) else None)
    return host.name if number in (None, DEFAULT_PORTS.get(scheme)) else f"{host.name}:{number}"


def _translate(environ: dict[str, Any]) -> None:
    """Write the standard header as the X-Forwarded ones, which the rest of the server reads."""
    if STANDARD not in environ or environ.keys() & {FOR, HOST, PROTO, PORT, PREFIX}:
        return
    values = _pairs(environ[STANDARD])
    found = {"for": FOR, "host": HOST, "proto": PROTO}
    environ |= {found[name]: ", ".join(values[name]) for name in found.keys() & values.keys()}


def _pairs(text: str) -> dict[str, list[str]]:
    """Return the values of each name in their order, those of `for` without ports; malformed text gives none."""
    values: dict[str, list[str]] = {}
    position = 0
    while position < len(text):
        pair = PAIR.match(text, position)
        if pair is None:
            return {}
        value = re.sub(r"\\(.)", r"\1", pair["value"].strip('"'))
        name = pair["name"].lower()
        if name == "for" and (host := parse_host(value)):
            value = host.name.strip("[]")
        values.setdefault(name, []).append(value)
        position = pair.end()
    return values
