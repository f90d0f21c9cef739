"""A connection to a running server; whatever goes wrong is one sentence, the server's own where it has one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from imageserver.cli.client.key import read_key
from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags.server_flags import KEY_VARIABLE
from imageserver.errors import BY_CODE, ServiceError
from imageserver.settings import START_COMMAND
from imageserver.settings.source import load_settings

CONNECT_SECONDS = 10.0
# Loading a LoRA or a model may take that long.
READ_SECONDS = 3600.0
# Of a stream that has a heartbeat every ten seconds.
SILENCE_SECONDS = 60.0
# What the path of every saved image begins with.
IMAGES = "/images/"
# A proxy says so for a server that it does not reach at the moment; with 503 the server itself may be starting.
GONE = (502, 503, 504)


class NoAnswer(CommandFailed):
    """No server answers, or it stopped in the middle, or it says itself that it cannot answer at the moment."""


class _KeyHeader(requests.auth.AuthBase):
    """Sends the key, even where .netrc has a password for the same machine."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class ServerConnection:
    """Asks the server at `url` with a key, which may be empty."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise CommandFailed(f"--url {url} is not an address such as http://localhost:5000.", status=2)
        self._session = requests.Session()
        self._session.auth = _KeyHeader(key)
        # A company's proxy cannot reach this machine's own server.
        self._session.trust_env = urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1")

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """Return the JSON object of an answer; raises CommandFailed, or NoAnswer where the same may be asked again."""
        with self._request(method, path, json=body, params=_given(query)) as response:
            return self._object_in(response)

    def download(self, address: str) -> bytes:
        """Return the bytes of an image by the address that the server has of it; raises what `ask` raises."""
        # A proxy's host and the folder that it serves under are in the address already, and in `url`.
        with self._request("GET", address[max(0, address.rfind(IMAGES)) :]) as response:
            return response.content

    def events(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the content of every event of a stream; raises what `ask` raises."""
        with self._request("GET", path, stream=True, timeout=(CONNECT_SECONDS, SILENCE_SECONDS)) as response:
            try:
                event = b""
                for line in response.iter_lines(chunk_size=None, decode_unicode=False):
                    if line.startswith(b"event:"):
                        event = line.removeprefix(b"event:").strip()
                    elif not line:
                        event = b""
                    elif line.startswith(b"data:"):
                        content = json.loads(line.removeprefix(b"data:"))
                        if event == b"error":
                            raise _failure(content, _status_of(content))
                        yield content
            except (requests.RequestException, ValueError):
                raise self._no_answer() from None

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
        try:
            response = self._session.request(method, self.url + path, **options)
        except (requests.ConnectionError, requests.Timeout):
            raise self._no_answer() from None
        except requests.RequestException as error:
            raise CommandFailed(f"The request to {self.url} failed: {error}", "no_answer") from None
        if not response.ok:
            with response:
                if response.status_code in GONE and _object_or_none(response) is None:
                    raise self._no_answer()
                raise _failure(self._object_in(response), response.status_code)
        return response

    def _object_in(self, response: requests.Response) -> dict[str, Any]:
        answer = _object_or_none(response)
        if answer is None:
            raise CommandFailed(
                f"{self.url} answered {response.status_code} and no JSON: it is not this server's address.", "no_server"
            )
        return answer

    def _no_answer(self) -> NoAnswer:
        return NoAnswer(f"No server answers at {self.url}; start one with: {START_COMMAND}", "no_server")


def connect(url: str | None, key_file: Path | None) -> ServerConnection:
    """Return a connection to `url`, or to the server of this machine's settings."""
    return ServerConnection(url or f"http://127.0.0.1:{load_settings().port}", read_key(key_file))


def _object_or_none(response: requests.Response) -> dict[str, Any] | None:
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items() if value}


def _status_of(answer: dict[str, Any]) -> int:
    """Return the status of an error that came after its response had begun."""
    return BY_CODE.get(str(answer.get("code")), ServiceError).status


def _failure(answer: dict[str, Any], status: int) -> CommandFailed:
    error = answer.get("error")
    # The routes of OpenAI have its envelope.
    details = error if isinstance(error, dict) else {"message": error, "code": answer.get("code")}
    advice = f" Name a key with --key-file or {KEY_VARIABLE}." if status == 401 else ""
    kind = NoAnswer if status in GONE else CommandFailed
    return kind(f"{details.get('message') or f'HTTP status {status}.'}{advice}", str(details.get("code")))
