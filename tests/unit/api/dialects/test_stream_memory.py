"""A stream, which counts towards MAX_WAITING_MB no longer, keeps nothing large of its request in memory."""

import contextlib
import io
import itertools
import json
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import pytest
from flask import Flask
from werkzeug.test import create_environ

from imageserver.api.dialects import cogview4_stream
from imageserver.api.dialects.chat import views as chat
from imageserver.api.dialects.mcp import views as mcp
from imageserver.api.dialects.openai_images import views as openai_images
from imageserver.api.dialects.responses import views as responses
from imageserver.api.generation.run import GenerationRequest
from imageserver.api.inputs.form_parser import FormRequest
from imageserver.api.output_options import OutputOptions
from imageserver.api.request_context import EXTENSION
from imageserver.settings import Settings
from tests.support.factories import generation

LARGE = 2**19
TEXT = "x" * LARGE
IMAGE = {"type": "image_url", "image_url": {"url": TEXT}}
TOOLS = [{"type": "image_generation", "input_image_mask": {"image_url": TEXT}}, {"type": "function", "name": TEXT}]
CALL = {"name": "edit_image", "arguments": {"prompt": "a cat", "image": TEXT}, "_meta": {"progressToken": 1}}
STREAMS = {
    "chat": (
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": [IMAGE]}], "tools": TOOLS, "response_format": TEXT,
            "modalities": ["image"], "stream": True,
        },
    ),
    "chat, a sentence": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [IMAGE]}], "tools": TOOLS, "stream": True},
    ),
    "responses": (
        "/v1/responses",
        {
            "input": [{"role": "user", "content": [IMAGE]}], "instructions": TEXT, "metadata": {"note": TEXT},
            "tool_choice": {"type": "image_generation", "name": TEXT}, "tools": TOOLS, "stream": True,
        },
    ),
    "responses, a sentence": (
        "/v1/responses",
        {"input": TEXT, "instructions": TEXT, "metadata": {"note": TEXT}, "tools": TOOLS[1:], "stream": True},
    ),
    "mcp": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}),
    "openai": ("/v1/images/generations", {"prompt": "a cat", "image": TEXT, "style": TEXT, "stream": True}),
    "cogview4": (
        "/v1/images/generations",
        {"prompt": "a cat", "style": TEXT, "user": TEXT, "stream": True, "stream_format": "cogview4"},
    ),
}  # fmt: skip


class ImprovedGeneration:
    """Sends a heartbeat while its prompt is improved; then the dispatcher has its pixels, and it waits."""

    def __init__(self):
        self.warnings = []
        self.request = GenerationRequest(
            number=1,
            generation=generation(),
            output_options=OutputOptions("png", None, None),
            timeout=1.0,
            source=b"x" * LARGE + bytes(1),
        )

    def stream(self, environ):
        def updates():
            yield None
            self.request = replace(self.request, source=b"")
            while True:
                yield None

        return updates()


class ClientStream(io.RawIOBase):
    """What arrives from a client, whose own memory is not the server's."""

    def __init__(self, content):
        self._sent = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._sent.readinto(buffer)


@pytest.fixture
def app(monkeypatch):
    def prepare(*_, **__):
        return ImprovedGeneration()

    for views, name in ((chat, "_prepare"), (responses, "_prepare"), (openai_images, "_prepare")):
        monkeypatch.setattr(views, name, prepare)
    monkeypatch.setattr(mcp.calls, "prepare_call", prepare)
    monkeypatch.setattr(cogview4_stream, "prepare", prepare)
    monkeypatch.setattr(cogview4_stream, "parse_request", prepare)
    monkeypatch.setattr(openai_images.sent_images, "read_if_sent", lambda *_: None)
    app = Flask(__name__)
    app.request_class = FormRequest
    app.extensions[EXTENSION] = SimpleNamespace(
        settings=Settings(_env_file=None), request_ids=SimpleNamespace(next_id=lambda: 1)
    )
    for blueprint in (each.blueprint for each in (chat, responses, mcp, openai_images, cogview4_stream)):
        app.register_blueprint(blueprint)
    return app


# `curl -d` calls whatever it sends a form.
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(("path", "body"), STREAMS.values(), ids=STREAMS)
def test_a_stream_that_has_begun_keeps_nothing_large_of_its_request(app, path, body, content_type):
    content = json.dumps(body).encode()
    environ = create_environ(path, method="POST", content_type=content_type)
    environ |= {"wsgi.input": ClientStream(content), "CONTENT_LENGTH": str(len(content))}
    statuses = []
    tracemalloc.start()
    try:
        with contextlib.closing(app.wsgi_app(environ, lambda status, headers: statuses.append(status))) as chunks:
            # A response begins with four events of its own.
            begun = list(itertools.islice(chunks, 6 if path == "/v1/responses" else 2))
            kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert statuses == ["200 OK"], begun
    assert most > 2 * LARGE, "the body was in memory"
    assert kept < LARGE / 2
