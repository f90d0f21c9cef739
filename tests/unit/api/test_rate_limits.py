"""Clients that ask too often are refused in their own dialect before their body is read, and told what is left."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api import rate_limits, routes
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.request_context import EXTENSION
from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.protocol.messages import Failed, QuotaUse, Usage
from imageserver.settings import Settings
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.web_addresses import TrustedProxies

ANN, BOB = "ann-key-0123456789", "bob-key-0123456789"
LIMITS = ClientLimits(requests_per_minute=2, seconds_per_hour=100.0)
GENERATING = [
    "/generate", "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/models/demo", "/",
    "/submit", "/batch_submit", "/sdapi/v1/txt2img", "/sdapi/v1/img2img",
]  # fmt: skip


class CountingServer:
    """All routes over a dispatcher that refuses every request that it counts."""

    def __init__(self, *entries, **settings):
        chosen = Settings(_env_file=None, **settings)
        self.app = Flask("limits", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = 2**20
        routes.register(self.app, chosen)
        self.questions = []
        self.is_full = True
        self.app.extensions[EXTENSION] = SimpleNamespace(
            settings=chosen,
            request_ids=SimpleNamespace(next_id=lambda: 5),
            measurements=MetricRegistry(),
            keyring=Keyring(entries, locked=bool(entries)),
            huggingface_tokens=None,
            proxies=TrustedProxies(chosen.trusted_proxies),
            client=SimpleNamespace(usage=self.usage),
        )

    def usage(self, question):
        self.questions.append(question)
        quotas = (
            QuotaUse(name="minute", unit="requests", limit=2, window=60, used=2, reset=12.3),
            QuotaUse(name="hour", unit="device-seconds", limit=100.0, window=3600, used=40.5, reset=1800.0),
            QuotaUse(name="day", unit="device-seconds", limit=0.0, window=86400, used=40.5, reset=9999.0),
        )
        sentence = "2 requests per minute are allowed."
        refusal = Failed(job=question.job, code="rate_limited", sentence=sentence, retry_after=12.3)
        return Usage(job=question.job, quotas=quotas, refusal=refusal if question.requests and self.is_full else None)

    def ask(self, method, path, key=None, headers=None, **options):
        sent = ({"Authorization": f"Bearer {key}"} if key else {}) | (headers or {})
        return self.app.test_client().open(path, method=method, headers=sent, **options)


@pytest.fixture
def server():
    return CountingServer(
        KeyEntry(name="ann", key=ANN, limits=LIMITS), KeyEntry(name="bob", key=BOB, role="user", limits=NO_LIMITS)
    )


@pytest.mark.fault(30)
@pytest.mark.parametrize("path", GENERATING)
def test_every_route_that_generates_counts_and_says_when_to_come_back(server, path):
    answer = server.ask("POST", path, ANN, data="{")
    assert answer.status_code == 429
    assert "2 requests per minute are allowed." in answer.text
    assert answer.headers["Retry-After"] == "13"
    assert answer.headers["RateLimit-Policy"] == '"minute";q=2;w=60'
    assert answer.headers["RateLimit"] == '"minute";r=0;t=13', "no window ends after Retry-After"
    [question] = server.questions
    assert (question.account, question.limits, question.requests) == ("ann", LIMITS, 1)


def test_headers_are_those_of_the_draft_as_they_are_when_the_answer_is_sent(server, monkeypatch):
    """Registered units only in the policies, and seconds of the device as a parameter of our own."""
    server.is_full = False
    moments = iter([100.0, 102.5, 102.5])
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    answer = server.ask("POST", "/generate", ANN, data="{")
    assert "Retry-After" not in answer.headers
    assert answer.headers["RateLimit-Policy"] == '"minute";q=2;w=60'
    assert answer.headers["RateLimit"] == '"minute";r=0;t=10, "hour";r=59;t=1798;qis-unit="device-seconds"'


@pytest.mark.parametrize("path", GENERATING)
def test_a_key_without_limits_is_not_counted(server, path):
    answer = server.ask("POST", path, BOB, data="{")
    assert answer.status_code in (400, 422)
    assert "RateLimit" not in answer.headers
    assert not server.questions


def test_the_openai_sdk_reads_its_own_error_types():
    server = CountingServer(KeyEntry(name="ann", key=ANN, limits=LIMITS))
    error = server.ask("POST", "/v1/images/generations", ANN, json={}).get_json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_exceeded", "rate_limited")


SAID = [{"role": "user", "content": "x"}]
TOOLS = [{"type": "image_generation"}]


@pytest.mark.parametrize(
    ("path", "of_text", "of_an_image"),
    [
        ("/v1/chat/completions", {"messages": SAID}, {"messages": SAID, "modalities": ["image"]}),
        ("/v1/responses", {"input": "x"}, {"input": "x", "tools": TOOLS}),
        ("/v1/responses", {"input": "x", "tools": TOOLS, "tool_choice": "none"},
         {"input": "x", "tools": [{**TOOLS[0], "size": "wrong"}]}),
    ],
)  # fmt: skip
def test_in_a_conversation_what_asks_for_an_image_counts_and_what_asks_for_text_does_not(
    server, path, of_text, of_an_image
):
    answer = server.ask("POST", path, ANN, json=of_text)
    assert (answer.status_code, server.questions) == (200, [])
    assert server.ask("POST", path, ANN, json=of_an_image).status_code == 429
    assert [question.requests for question in server.questions] == [1]


@pytest.mark.parametrize("arguments", [{"prompt": "x"}, {"prompt": "x", "n": "wrong"}])
def test_a_call_of_an_assistant_for_an_image_counts_also_one_that_is_wrong(server, arguments):
    params = {"name": "generate_image", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = server.ask("POST", "/mcp", ANN, json=message)
    assert "2 requests per minute are allowed." in answer.text
    assert [question.requests for question in server.questions] == [1]


@pytest.mark.parametrize("path", ["/v1/loras", "/v1/estimate", "/sdapi/v1/interrupt", "/health"])
def test_what_generates_nothing_does_not_count(server, path):
    server.ask("POST", path, ANN, data="{")
    assert not server.questions


def test_without_keys_each_address_has_the_limits_of_the_settings():
    server = CountingServer(rate_limit_rpm=2)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
    for address in addresses:
        server.ask("POST", "/generate", data="{", environ_base={"REMOTE_ADDR": address})
    accounts = [question.account for question in server.questions]
    assert accounts == ["address 192.0.2.1", "address 192.0.2.2", "address 2001:db8::/64", "address 2001:db8::/64"]
    assert {question.limits for question in server.questions} == {ClientLimits(requests_per_minute=2)}


@pytest.mark.fault(30)
@pytest.mark.parametrize(("trusted", "account"), [("", "address 192.0.2.1"), ("192.0.2.0/24", "address 198.51.100.7")])
def test_a_client_is_believed_to_be_another_only_by_a_trusted_proxy(trusted, account):
    server = CountingServer(rate_limit_rpm=2, trusted_proxies=trusted)
    claims = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 192.0.2.8"}
    server.ask("POST", "/generate", data="{", headers=claims, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert [question.account for question in server.questions] == [account]


def test_a_client_sees_what_it_has_used(server):
    answer = server.ask("GET", "/v1/usage", ANN)
    assert answer.status_code == 200
    content = answer.get_json()
    assert (content["name"], content["role"]) == ("ann", "admin")
    minute, hour, day = content["quotas"]
    assert (minute["limit"], minute["used"], minute["remaining"]) == (2, 2, 0)
    assert (hour["unit"], hour["used"], hour["remaining"], hour["resets_in"]) == ("device-seconds", 40.5, 59.5, 1800.0)
    assert (day["limit"], day["used"], day["remaining"]) == (None, 40.5, None)
    assert server.questions[0].requests == 0


def test_where_nobody_counts_nothing_is_claimed_to_be_used():
    content = CountingServer().ask("GET", "/v1/usage").get_json()
    assert [quota["used"] for quota in content["quotas"]] == [None, None, None]
