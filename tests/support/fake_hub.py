"""Both hubs on this machine: they serve the files of one folder as one model, and fail as they are told."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """What was asked, and the faults to come: `unwell` answers of 503, and files to be cut off in their middle.

    It speaks the protocols of the Hugging Face Hub and of ModelScope. `requests` counts all that it was asked.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model
        self.unwell = self.requests = 0
        self.cut: set[str] = set()
        self.ranges: dict[str, list[str]] = {}
        self.revisions: list[str] = []
        self.url = ""

    @property
    def names(self) -> list[str]:
        """The files of the model."""
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve on a free port; the address is given."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        """Answer a request for the model's description or for one of its files."""
        path, _, query = request.path.partition("?")
        self.requests += 1
        modelscope = f"/api/v1/models/{self.model}/repo"
        if self.unwell:
            self.unwell -= 1
            self._send(request, 503, b"")
        elif path == f"{modelscope}/files":
            files = [
                {"Path": name, "Size": (self.folder / name).stat().st_size, "Type": "blob"}
                for name in self.names
                if name.startswith(parse_qs(query).get("Root", [""])[0])
            ]
            answer = {"Code": 200, "Success": True, "Data": {"Files": files}}
            self._send(request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif path == modelscope:
            self.revisions.append(parse_qs(query)["Revision"][0])
            self._send_file(request, self.folder / parse_qs(query)["FilePath"][0], body=body)
        elif path.startswith(f"/api/models/{self.model}/tree/"):
            files = [
                {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": "0" * 40}
                for name in self.names
            ]
            self._send(request, 200, json.dumps(files).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"/api/models/{self.model}"):
            self.revisions.append(path.rpartition("/")[2])
            content = {"id": self.model, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.names]}
            self._send(request, 200, json.dumps(content).encode(), {"Content-Type": "application/json"})
        elif (match := re.fullmatch(rf"/{self.model}/resolve/([0-9a-f]{{40}})/(.+)", path)) and (
            file := self.folder / match[2]
        ).is_file():
            self._send_file(request, file, body=body, commit=match[1])
        else:
            self._send(request, 404, b"")

    def _send_file(self, request: BaseHTTPRequestHandler, file: Path, *, body: bool, commit: str = COMMIT) -> None:
        data, name = file.read_bytes(), str(file.relative_to(self.folder))
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        first, status = 0, 200
        if body:
            asked = request.headers.get("Range", "")
            self.ranges.setdefault(name, []).append(asked)
            if asked.startswith("bytes="):
                first, status = int(asked[6:].partition("-")[0]), 206
                headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if name in self.cut and body:
            self.cut.discard(name)
            self._send(request, status, data[first : len(data) // 2], headers, length=len(data) - first)
            request.close_connection = True
            return
        self._send(request, status, data[first:] if body else b"", headers, length=len(data) - first)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:  # fmt: skip
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)
