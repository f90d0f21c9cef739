"""The origins of web pages that may use this server: its own, and those of ALLOWED_ORIGINS."""

from collections.abc import Iterable

from imageserver.settings import Settings
from imageserver.web_addresses import ANY, DEFAULT_PORTS, Origin, entries, parse_host, parse_origin


class AllowedOrigins:
    """Origins that may use the server from a page of theirs; the server's own are not among them."""

    def __init__(self, origins: Iterable[str]) -> None:
        given = set(origins)
        self._any = ANY in given
        self._origins = {parse_origin(text) for text in given - {ANY}}

    def __bool__(self) -> bool:
        return self._any or bool(self._origins)

    def allows(self, header: str) -> bool:
        """Return whether an Origin header names one of them."""
        origin = parse_origin(header)
        return self._any or (origin is not None and origin in self._origins)


def allowed_origins(settings: Settings) -> AllowedOrigins:
    """Return the origins of the settings."""
    return AllowedOrigins(entries(settings.allowed_origins))


def is_own(origin: Origin, host_header: str, forwarded_port: str) -> bool:
    """Return whether a page's host and port are those that its request names.

    The scheme is not compared: behind a proxy that ends TLS, the server sees http. `forwarded_port` is the port of a
    host that names none.
    """
    host = parse_host(host_header)
    if host is None or origin.scheme not in DEFAULT_PORTS:
        return False
    ports = [str(host.port)] if host.port else [str(DEFAULT_PORTS[origin.scheme]), forwarded_port]
    return origin.host.name == host.name and str(origin.host.port) in ports
