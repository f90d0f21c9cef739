"""The OpenAPI document is built once."""

from types import SimpleNamespace

from flask import Flask

from imageserver.api import routes
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.request_context import EXTENSION
from imageserver.api.server import openapi
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.settings import Settings


def test_the_document_is_built_once(monkeypatch):
    settings, written = Settings(_env_file=None), []
    describe = openapi.describe
    monkeypatch.setattr(openapi, "describe", lambda *given: written.append(given) or describe(*given))
    app = Flask("document", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    routes.register(app, settings)
    app.extensions[EXTENSION] = SimpleNamespace(
        settings=settings, thread_pool=ThreadPool(1), keyring=Keyring([], locked=False)
    )
    first, second = (app.test_client().get("/openapi.json") for _ in range(2))
    assert first.get_json()["openapi"] == "3.1.0"
    assert second.data == first.data
    assert len(written) == 1
