"""A TCP proxy before a server under test, whose connections a test can cut."""

import contextlib
import socket
import threading

from tests.support.server import free_port


class CutProxy:
    """Passes bytes on until `cut`; what connects while it is cut is hung up on."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._upstream = ("127.0.0.1", upstream_port)
        self._is_cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and let none through."""
        self._is_cut = True
        while self._open:
            _hang_up(self._open.pop())

    def mend(self, upstream_port: int | None = None) -> None:
        """Let connections through again, to another server where its port is given."""
        if upstream_port is not None:
            self._upstream = ("127.0.0.1", upstream_port)
        self._is_cut = False

    def stop(self) -> None:
        """Stop listening, and end every connection."""
        _hang_up(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    _hang_up(client)
                    continue
                server = socket.create_connection(self._upstream)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _hang_up(source)
    _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
