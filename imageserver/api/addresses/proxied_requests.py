"""Requests that came through a proxy, as their clients sent them: scheme, host, and the path that the server is below.

Only what a trusted proxy says counts. The host that the server itself received stays known: a web page on this machine
could name a proxy's host, and the guard against foreign pages must see both.
"""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, redirect, request
from flask.typing import ResponseReturnValue

from imageserver.api.addresses.forwarded import read_forwarded
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

RECEIVED_HOST = "imageserver.received_host"


def register(app: Flask, settings: Settings) -> None:
    """Serve every request at the address that its client used.

    To be registered after everything else that reads the path of a request.
    """
    inner: Application = app.wsgi_app
    proxies = TrustedProxies(settings.trusted_proxies)
    public_path = urlsplit(settings.public_url).path.rstrip("/")
    own_paths = {_first_part(rule.rule) for rule in app.url_map.iter_rules()}

    def as_sent(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen = read_forwarded(environ, proxies)
        environ[RECEIVED_HOST] = environ.get("HTTP_HOST", "")
        if seen.host:
            environ["HTTP_HOST"] = seen.host
        if seen.scheme:
            environ["wsgi.url_scheme"] = seen.scheme
        # Where PUBLIC_URL tells the prefix, a proxy that does not write the header passes on what its client made up.
        told = seen.prefix if seen.prefix == public_path or not settings.public_url else ""
        if told:
            environ["SCRIPT_NAME"] = told
        prefix, path = told or public_path, environ.get("PATH_INFO", "")
        # Where a route has that name, only the proxy can tell them apart, by leaving the prefix out.
        if prefix and _first_part(prefix) not in own_paths and f"{path}/".startswith(f"{prefix}/"):
            environ |= {"SCRIPT_NAME": prefix, "PATH_INFO": path.removeprefix(prefix)}
        return inner(environ, start_response)

    @app.before_request
    def add_slash() -> ResponseReturnValue | None:
        """Redirect from the prefix alone: the page's own addresses are relative to the path with a slash."""
        if not request.script_root or request.environ.get("PATH_INFO"):
            return None
        query = request.query_string.decode("latin-1")
        return redirect(f"{request.script_root}/?{query}".removesuffix("?"), 308)

    app.wsgi_app = as_sent  # type: ignore[method-assign]


def received_host() -> str:
    """Return the host name under which this request reached the server itself, such as a proxy's name for it."""
    host: str = request.environ.get(RECEIVED_HOST, request.headers.get("Host", ""))
    return host


def _first_part(path: str) -> str:
    return path.split("/")[1]
