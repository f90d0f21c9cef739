"""The OpenAI dialect at every address that its clients use, with errors in its own shape."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api import routes
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.dialects.openai_images.addresses import documented
from imageserver.api.request_context import EXTENSION
from imageserver.settings import Settings
from imageserver.telemetry.metric_registry import MetricRegistry

KEY = "ann-key-0123456789"
OPENAI, NATIVE = {"message", "type", "param", "code"}, {"error", "code", "param", "request_id"}


class RoutesAtEveryAddress:
    """All routes over a dispatcher that is never asked."""

    def __init__(self, *entries):
        settings = Settings(_env_file=None)
        self.app = Flask("addresses", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = 2**20
        routes.register(self.app, settings)
        self.app.extensions[EXTENSION] = SimpleNamespace(
            settings=settings,
            request_ids=SimpleNamespace(next_id=lambda: 5),
            measurements=MetricRegistry(),
            keyring=Keyring(entries, locked=bool(entries)),
            huggingface_tokens=None,
        )

    def ask(self, method, path, **options):
        return self.app.test_client().open(path, method=method, **options)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/images/generations", ("/v1/images/generations", None)),
        ("POST", "/v1/images/generations/", ("/v1/images/generations", None)),
        ("POST", "//v1/images/generations", ("/v1/images/generations", None)),
        ("POST", "/v1/v1/images/edits", ("/v1/images/edits", None)),
        ("POST", "/images/generations", ("/v1/images/generations", None)),
        ("POST", "/images/variations/", ("/v1/images/variations", None)),
        ("GET", "/models", ("/v1/models", None)),
        ("GET", "/models/owner/name/", ("/v1/models/owner/name", None)),
        ("POST", "/openai/deployments/mine/images/generations", ("/v1/images/generations", "mine")),
        ("POST", "/openai/v1/images/edits", ("/v1/images/edits", None)),
        ("GET", "/openai/models", ("/v1/models", None)),
        ("POST", "/api/v1/images/generations", ("/v1/images/generations", None)),
        ("POST", "/api/v1/chat/completions", ("/v1/chat/completions", None)),
        ("GET", "/api/v1/models/", ("/v1/models", None)),
        ("GET", "/api/v2/models", ("/api/v2/models", None)),
        ("POST", "/responses", ("/v1/responses", None)),
        ("POST", "/chat/completions/", ("/v1/chat/completions", None)),
        ("POST", "/openai/responses", ("/v1/responses", None)),
        ("POST", "/openai/v1/responses", ("/v1/responses", None)),
        ("POST", "/openai/v1/chat/completions", ("/v1/chat/completions", None)),
        ("POST", "/openai/deployments/mine/chat/completions", ("/v1/chat/completions", "mine")),
        ("POST", "/v1/images", ("/v1/images/generations", None)),
        ("POST", "/images/", ("/v1/images/generations", None)),
        # Those of other dialects and of saved images are theirs.
        ("POST", "/models/owner/name", ("/models/owner/name", None)),
        ("GET", "/images/generations", ("/images/generations", None)),
        ("GET", "/v1/images", ("/v1/images", None)),
        ("GET", "/images/a.png", ("/images/a.png", None)),
        ("POST", "/sdapi//v1/txt2img", ("/sdapi//v1/txt2img", None)),
        ("GET", "/v1", ("/v1", None)),
        ("GET", "/", ("/", None)),
    ],
)
def test_every_address_of_the_api_means_the_documented_one(method, path, expected):
    assert documented(method, path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/generations", "/v1/images/generations/", "/images/generations",
        "/v1/v1/images/generations", "/openai/deployments/dall-e-3/images/generations?api-version=2025-04-01-preview",
    ],
)  # fmt: skip
def test_each_of_them_is_answered_by_the_dialect(path):
    answer = RoutesAtEveryAddress().ask("POST", path, json={})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["message"] == "Prompt is required"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/nothing/here", 404),
        ("DELETE", "/v1/models/demo", 405),
        ("GET", "/v1/images/generations", 405),
        ("POST", "/openai/deployments/mine/audio/speech", 404),
    ],
)
def test_what_the_dialect_does_not_have_is_refused_in_its_shape(method, path, status):
    answer = RoutesAtEveryAddress().ask(method, path)
    assert (answer.status_code, answer.get_json()["error"].keys()) == (status, OPENAI)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("PUT", "/v1/jobs", 405), ("PUT", "/v1/loras", 405), ("GET", "/x", 404)]
)
def test_our_own_routes_keep_theirs(method, path, status):
    answer = RoutesAtEveryAddress().ask(method, path)
    assert (answer.status_code, answer.get_json().keys()) == (status, NATIVE)


@pytest.mark.parametrize(
    ("body", "param"),
    [({"n": 0}, "n"), ({"size": "huge"}, "size"), ({"seed": -2}, "seed"), ({"output_format": "gif"}, "output_format")],
)
def test_a_wrong_value_is_400_and_names_its_field(body, param):
    answer = RoutesAtEveryAddress().ask("POST", "/v1/images/generations", json={"prompt": "x"} | body)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_parameter")


def test_the_native_api_keeps_422():
    assert RoutesAtEveryAddress().ask("POST", "/generate", json={"prompt": "x", "n": 0}).status_code == 422


@pytest.mark.parametrize("path", ["/v1/images/generations", "/openai/images/generations", "/v1/nothing"])
def test_azures_header_holds_the_key(path):
    server = RoutesAtEveryAddress(KeyEntry(name="ann", key=KEY))
    refused = server.ask("POST", path, json={}, headers={"api-key": "wrong"})
    assert (refused.status_code, refused.get_json()["error"].keys()) == (401, OPENAI)
    assert server.ask("POST", path, json={}, headers={"api-key": KEY}).status_code in (400, 404)
