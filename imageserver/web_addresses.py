"""Hosts and origins as browsers and settings write them: `images.example:8080`, `https://app.example`.

Sources: RFC 9110 section 7.2 (Host), RFC 6454 (the Origin header).
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
HOST_PATTERN = re.compile(r"\*|(?:\*?\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
ORIGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^\s/?#@,]+)")
PUBLIC_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
ANY = "*"
# A proxy on this machine that connects by a Unix socket.
UNIX = "unix"


@dataclass(frozen=True)
class Host:
    """A host in lower case, IPv6 in brackets, with its port if it names one."""

    name: str
    port: int | None = None


@dataclass(frozen=True)
class Origin:
    """The scheme, host and port of a web page; the port of http and https is never None."""

    scheme: str
    host: Host


def parse_host(text: str) -> Host | None:
    """Return the parts of `HOST` or `HOST:PORT`, or None if it is neither."""
    match = HOST.fullmatch(text)
    if match is None or not 0 < (port := int(match["port"] or 1)) < 65536:
        return None
    name = match["name"].lower().removesuffix(".")
    if name.startswith("[") and not is_ip_literal(name):
        return None
    return Host(name, port if match["port"] else None)


def parse_origin(text: str) -> Origin | None:
    """Return an origin, or None if the text is none, such as `null`."""
    match = ORIGIN.fullmatch(text)
    host = parse_host(match["host"]) if match else None
    if match is None or host is None:
        return None
    scheme = match["scheme"].lower()
    return Origin(scheme, Host(host.name, host.port or DEFAULT_PORTS.get(scheme)))


def origin_of(url: str) -> Origin | None:
    """Return the origin of a web address, or None for an empty one."""
    return parse_origin("/".join(url.split("/")[:3]))


def is_loopback(name: str) -> bool:
    """Return whether a host is this machine wherever its name is looked up; an IPv6 address may be in brackets."""
    name = name.lower().removesuffix(".")
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_ip_literal(name: str) -> bool:
    """Return whether a host is an address, for which no name server is asked."""
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            # Also the short and hexadecimal forms, which no public name can have.
            socket.inet_aton(name)
    except (ValueError, OSError):
        return False
    return True


def entries(text: str) -> list[str]:
    """Return the entries of a comma-separated setting."""
    return [entry for part in text.split(",") if (entry := part.strip())]


def checked_hosts(text: str) -> str:
    """Return a list of `HOST` or `HOST:PORT`; raises ValueError naming what is neither."""
    for entry in entries(text):
        if parse_host(entry) is None:
            raise ValueError(f"{entry!r} is neither HOST nor HOST:PORT")
    return text


def checked_host_patterns(text: str) -> str:
    """Return a list of host names, which may begin with `*.`; raises ValueError naming what is none."""
    for entry in entries(text):
        if not HOST_PATTERN.fullmatch(entry):
            raise ValueError(f"{entry!r} is not a host name such as images.example or *.example, without a port")
    return text


def checked_origins(text: str) -> str:
    """Return a list of origins, or `*`; raises ValueError naming what is none."""
    for entry in entries(text):
        if entry != ANY and parse_origin(entry) is None:
            raise ValueError(f"{entry!r} is not an origin such as https://app.example, without a path")
    return text


def checked_networks(text: str) -> str:
    """Return a list of IP addresses, networks and `unix`; raises ValueError naming what is none."""
    TrustedProxies(text)
    return text


class TrustedProxies:
    """The proxies whose forwarding headers are believed; anybody else could name any address there."""

    def __init__(self, text: str) -> None:
        """Trust a comma-separated list of addresses, networks and `unix`; raises ValueError naming what is none."""
        given = entries(text)
        self._unix = UNIX in given
        try:
            self._networks = [ipaddress.ip_network(entry) for entry in given if entry != UNIX]
        except ValueError as error:
            raise ValueError(f"{error}: write it as 10.0.0.1, 10.0.0.0/8 or {UNIX}") from None

    def trust(self, address: str) -> bool:
        """Return whether an address is a trusted proxy's; the peer of a Unix socket has none."""
        if not address:
            return self._unix
        ip = _ip_of(address)
        return ip is not None and any(ip in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: str) -> str:
        """Return the address of the client: the last one that does not belong to a trusted proxy."""
        for address in reversed([*entries(forwarded_for), peer]):
            if not self.trust(address):
                return address
        return peer


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, a client has a whole /64 network."""
    ip = _ip_of(address)
    if ip is None or ip.version == 4:
        return str(ip or address)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def _ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if ip.version == 6 else ip


def checked_public_url(text: str) -> str:
    """Return a web address; raises ValueError if it is none."""
    if text and not (PUBLIC_URL.fullmatch(text) and parse_host(urlsplit(text).netloc)):
        raise ValueError("it is not an address such as https://images.example/path")
    return text


def checked_cluster(text: str) -> str:
    """Return `head` or HOST:PORT; raises ValueError if it is neither."""
    host = parse_host(text) if text and text != "head" else None
    if text not in ("", "head") and (host is None or host.port is None):
        raise ValueError("it is neither head nor HOST:PORT, such as 10.0.0.5:6379")
    return text
