"""What the addresses of saved images begin with: PUBLIC_URL, or the host that the client used, if it is a known one."""

import logging

from flask import request

from imageserver.api.addresses.hosts import allowed_hosts
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.settings import Settings
from imageserver.web_addresses import parse_host

logger = logging.getLogger(__name__)


class Links:
    """The beginning of links to this server; a name that anybody may have made up gets into none."""

    def __init__(self, settings: Settings) -> None:
        self._public_url = settings.public_url
        self._hosts = allowed_hosts(settings)

    def root(self) -> str:
        """Return the address of this server for the client of the current request, without a slash at its end."""
        if self._public_url:
            return self._public_url.rstrip("/")
        if parse_host(request.host) is not None and self._hosts.allows(request.host):
            return request.url_root.rstrip("/")
        address = _own_address()
        # A server with keys answers to any name.
        logger.warning(
            "Links begin with %s, because the host of the request is not in ALLOWED_HOSTS and PUBLIC_URL is not set.",
            address,
        )
        return f"{request.scheme}://{address}{request.script_root}"


def _own_address() -> str:
    """Return where the client, or the proxy, reached this server."""
    connection = request.environ.get(SOCKET_KEY)
    name = connection.getsockname() if connection is not None else None
    # A Unix socket has a path instead.
    host, port = (
        name[:2] if isinstance(name, tuple) else (request.environ["SERVER_NAME"], request.environ["SERVER_PORT"])
    )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
