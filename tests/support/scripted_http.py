"""A small HTTP server whose answers a test scripts, by method and path."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | Callable[["ScriptedRequest"], tuple[int, Any]]


class ScriptedRequest:
    """What was asked: `body` is the JSON that came."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.method, self.path = handler.command, handler.path
        self.key = handler.headers.get("Authorization", "")
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = json.loads(handler.rfile.read(length)) if length else None


class ScriptedServer:
    """Answers `"GET /path"` as told, bytes as they are and the rest as JSON; `requests` is all that was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[ScriptedRequest] = []
        self.url = ""

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        asked = ScriptedRequest(handler)
        self.requests.append(asked)
        key = f"{asked.method} {asked.path.partition('?')[0]}"
        found = next((answer for start, answer in self.answers.items() if key.startswith(start)), None)
        status, content = (404, {"error": "Not found.", "code": "not_found"}) if found is None else (
            found(asked) if callable(found) else found
        )  # fmt: skip
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Serve on a free port of the loopback."""
    scripted = ScriptedServer()

    class AnsweringHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scripted.respond(self)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), AnsweringHandler) as server:
        scripted.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield scripted
        finally:
            server.shutdown()
            thread.join()
