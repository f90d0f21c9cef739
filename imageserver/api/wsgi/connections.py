"""The open connections of one worker by their addresses, so that no address holds them all.

An address that has as many as it may have makes room for its next one by its own longest idle or slow one: people
behind one proxy or router lose nothing but such connections.
"""

import contextlib
import socket
import time
from collections import Counter
from typing import Any

from imageserver.web_addresses import TrustedProxies, network_of

# Of the connections that an address may have, so many may be WebSockets: these end by themselves after minutes only.
WEBSOCKETS_PER_CONNECTION = 0.5


class Connection:
    """One client's connection; it `is_waiting` while the server waits for bytes of a request."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address
        self.is_waiting = True
        self.since = time.monotonic()

    def begin_request(self) -> None:
        self.is_waiting, self.since = False, time.monotonic()

    def end_request(self) -> None:
        self.is_waiting, self.since = True, time.monotonic()

    def cut(self) -> None:
        """Shut it down; whoever reads from it reads its end."""
        # By a duplicate: with gevent's own socket, the reader would get an error, which gunicorn logs at length.
        with contextlib.suppress(OSError), contextlib.closing(self._client.dup()) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


class Connections:
    """Knows the connections of every address; those of Unix sockets and trusted proxies are not counted."""

    def __init__(self, limit: int, proxies: TrustedProxies) -> None:
        """Allow an address `limit` connections; 0 sets no limit."""
        self._limit = limit
        self._proxies = proxies
        self._open: dict[str, dict[Connection, None]] = {}
        self._websockets: Counter[str] = Counter()

    def open(self, client: Any, peer: object) -> Connection | None:
        """Return the new connection, or None if its address has too many that are all at work.

        `peer` is what `accept` returned: a tuple for TCP, text or bytes for a Unix socket.
        """
        address = network_of(peer[0]) if isinstance(peer, tuple) and not self._proxies.trust(peer[0]) else ""
        connection = Connection(client, address)
        if not address or not self._limit:
            return connection
        mine = self._open.setdefault(address, {})
        if len(mine) >= self._limit:
            oldest = min((each for each in mine if each.is_waiting), key=lambda each: each.since, default=None)
            if oldest is None:
                return None
            oldest.cut()
            self.close(oldest)
        self._open.setdefault(address, {})[connection] = None
        return connection

    def close(self, connection: Connection) -> None:
        """Forget a connection; one that is not counted is ignored."""
        mine = self._open.get(connection.address, {})
        mine.pop(connection, None)
        if not mine:
            self._open.pop(connection.address, None)

    def open_websocket(self, client: str) -> bool:
        """Count a WebSocket of a client's address, and return whether it may have one more."""
        address = network_of(client)
        limit = max(1, int(self._limit * WEBSOCKETS_PER_CONNECTION))
        if self._limit and address and self._websockets[address] >= limit:
            return False
        self._websockets[address] += 1
        return True

    def close_websocket(self, client: str) -> None:
        address = network_of(client)
        self._websockets[address] -= 1
        if not self._websockets[address]:
            del self._websockets[address]
