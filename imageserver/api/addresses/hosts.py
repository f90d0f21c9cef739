"""The hosts that a server without keys answers to.

A web page can point its own name at this machine (DNS rebinding) and is then of the same origin as the server; only
the Host header shows it.
"""

import socket
from collections.abc import Iterable

from imageserver.settings import Settings
from imageserver.web_addresses import ANY, entries, is_ip_literal, origin_of, parse_host

# The last two are this machine as seen from its containers; nobody can register names below .internal or .localhost.
LOCAL = {
    "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback",
    "host.docker.internal", "host.containers.internal",
}  # fmt: skip


class AllowedHosts:
    """Names to answer to; `*.example` and `.example` allow every name below `example`, `.example` also itself."""

    def __init__(self, names: Iterable[str]) -> None:
        lowered = {name.lower().removesuffix(".") for name in names}
        self._any = ANY in lowered
        self._names = LOCAL | {name.removeprefix(".") for name in lowered if not name.startswith(f"{ANY}.")}
        self._suffixes = (".localhost", *(name.removeprefix(ANY) for name in lowered if name.startswith((".", "*."))))

    def allows(self, header: str) -> bool:
        """Return whether a Host header names this server; one without a name comes from no browser."""
        if self._any or not header:
            return True
        host = parse_host(header)
        return host is not None and (
            host.name in self._names or host.name.endswith(self._suffixes) or is_ip_literal(host.name)
        )


def allowed_hosts(settings: Settings) -> AllowedHosts:
    """Return the hosts of this machine and of the settings."""
    names = [*_machine_names(), settings.host, *entries(settings.allowed_hosts)]
    if public := origin_of(settings.public_url):
        names.append(public.host.name)
    return AllowedHosts(names)


def _machine_names() -> list[str]:
    name = socket.gethostname()
    short = name.partition(".")[0]
    return [name, short, f"{short}.local"] if short else []
