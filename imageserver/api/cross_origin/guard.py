"""Refuse requests that a foreign web page made a browser send: under a rebound host name, or from another origin.

Browsers tell where a request comes from in Host, Origin and Sec-Fetch-Site, which pages cannot change; other clients
send neither of the last two. Source: Fetch Metadata, W3C; docs/decisions/0024.
"""

from flask import Flask, request

from imageserver.api.addresses.hosts import allowed_hosts
from imageserver.api.addresses.proxied_requests import received_host
from imageserver.api.cross_origin.origins import AllowedOrigins, allowed_origins, is_own
from imageserver.api.request_context import request_id
from imageserver.errors import ForeignHost, ForeignOrigin
from imageserver.settings import Settings
from imageserver.web_addresses import Origin, entries, origin_of, parse_origin

# Monitoring and load balancers use addresses and names of their own, and nothing private is told here.
ANY_HOST_ENDPOINTS = {"health.livez", "health.readyz", "health.startupz", "health.health", "health.metrics"}
# They change nothing, and a foreign page cannot read their answers.
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Nor does this, but a page could post 20 MiB to it: what a phone shares has no origin, and comes from no site.
SHARED_ENDPOINTS = {"page_share.share"}
PREFLIGHT = "Access-Control-Request-Method"


def register(app: Flask, settings: Settings) -> None:
    """Check every request before its view; a rebound page has no key, so a server with keys answers to any host."""
    hosts = None if settings.asks_for_keys else allowed_hosts(settings)
    origins, public = allowed_origins(settings), origin_of(settings.public_url)

    @app.before_request
    def refuse_foreign_hosts() -> None:
        if hosts is None or request.endpoint in ANY_HOST_ENDPOINTS:
            return
        if not all(hosts.allows(host) for host in _named_hosts()):
            request_id()
            raise ForeignHost(
                "This server does not answer to the host name in this request; its owner can allow the name in "
                "ALLOWED_HOSTS, or require keys with API_KEYS."
            )

    @app.before_request
    def refuse_foreign_pages() -> None:
        if _is_unsafe() and not _may_send(origins, public):
            request_id()
            raise ForeignOrigin(
                "A web page of another origin may not use this server; its owner can allow it in ALLOWED_ORIGINS."
            )


def _named_hosts() -> list[str]:
    """Return the host of the request, and those that a proxy and this server received it under."""
    return [received_host(), request.headers.get("Host", ""), *entries(request.headers.get("X-Forwarded-Host", ""))]


def _is_unsafe() -> bool:
    """Return whether a request changes something, opens a WebSocket, or asks on behalf of one that would."""
    is_handshake = request.url_rule is not None and request.url_rule.websocket
    return is_handshake or request.method not in SAFE_METHODS or PREFLIGHT in request.headers


def _may_send(origins: AllowedOrigins, public: Origin | None) -> bool:
    """Return whether a request comes from no web page, from an allowed one, or from one of this server."""
    header, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if request.endpoint in SHARED_ENDPOINTS and (header, site) == ("null", "none"):
        return True
    if header is None:
        return site not in ("cross-site", "same-site")
    if origins.allows(header):
        return True
    origin = parse_origin(header)
    if origin is None or site == "cross-site":
        return False
    port = request.headers.get("X-Forwarded-Port", "")
    # The browser compared with the address that it used, which a proxy may have replaced.
    return site == "same-origin" or origin == public or any(is_own(origin, host, port) for host in _named_hosts())
