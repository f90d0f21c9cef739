"""Hugging Face tokens: their owners, the reasons for refusals, and how often the Hub is asked."""

import gevent
import pytest
import requests

from imageserver.api.credentials import huggingface_tokens
from imageserver.api.credentials.huggingface_tokens import (
    MAX_CONCURRENT,
    VALID_SECONDS,
    WRONG_SECONDS,
    HuggingFaceTokens,
)
from imageserver.errors import Forbidden, HubUnavailable

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"


def told(name="ann", role="read", orgs=(), **fine_grained):
    token = {"displayName": "x", "role": role} | ({"fineGrained": fine_grained} if fine_grained else {})
    return {"type": "user", "name": name, "orgs": [{"name": org} for org in orgs], "auth": {"accessToken": token}}


class StubHub:
    """Stands in for requests: answers in turn, and remembers what it was asked."""

    def __init__(self):
        self.asked, self.pause, self.now = [], 0.0, 1000.0
        self.answer: object = (200, told(), {})

    def get(self, url, *, auth, timeout, allow_redirects, headers):
        request = auth(requests.Request("GET", url, headers=headers).prepare())
        self.asked.append((url, request.headers["Authorization"]))
        assert not allow_redirects
        if self.pause:
            gevent.sleep(self.pause)
        if isinstance(self.answer, Exception):
            raise self.answer
        status, content, headers = self.answer
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.json = lambda: content
        return response

    def clock(self):
        return self.now


@pytest.fixture
def hub(monkeypatch):
    hub = StubHub()
    monkeypatch.setattr(huggingface_tokens.requests, "get", hub.get)
    return hub


def opened(hub, users=(), *, read_only=True):
    return HuggingFaceTokens("https://hub.example/", users, read_only=read_only, clock=hub.clock)


def test_a_token_stands_for_its_owner_under_a_name_that_no_api_key_can_have(hub):
    assert opened(hub).owner_of(TOKEN) == "hf:ann"
    assert hub.asked == [("https://hub.example/api/whoami-v2", f"Bearer {TOKEN}")]


@pytest.mark.parametrize(
    "key", ["", "hf_", "an-api-key-with-a-slip", f" {TOKEN}", "hf_a\r\nb", "hf_é", "hf_" + "a" * 5000]
)
def test_only_tokens_are_sent_to_the_hub(hub, key):
    assert opened(hub).owner_of(key) is None
    assert hub.asked == []


def test_the_hub_is_asked_again_when_its_result_has_expired(hub):
    tokens = opened(hub)
    tokens.owner_of(TOKEN)
    hub.now += VALID_SECONDS - 1
    tokens.owner_of(TOKEN)
    assert len(hub.asked) == 1
    hub.now += 2
    hub.answer = (401, {}, {})
    assert tokens.owner_of(TOKEN) is None
    assert len(hub.asked) == 2


def test_a_wrong_token_is_refused_for_a_while_without_the_hub(hub):
    tokens = opened(hub)
    hub.answer = (401, {"error": "Invalid credentials"}, {})
    assert tokens.owner_of(TOKEN) is tokens.owner_of(TOKEN) is None
    assert len(hub.asked) == 1
    hub.now += WRONG_SECONDS + 1
    hub.answer = (200, told(), {})
    assert tokens.owner_of(TOKEN) == "hf:ann"


def test_many_requests_with_one_fresh_token_ask_once(hub):
    tokens = opened(hub)
    hub.pause = 0.05
    waiting = [gevent.spawn(tokens.owner_of, TOKEN) for _ in range(50)]
    gevent.joinall(waiting)
    assert [each.value for each in waiting] == ["hf:ann"] * 50
    assert len(hub.asked) == 1


def test_a_flood_of_new_tokens_is_not_passed_on_to_the_hub(hub):
    tokens = opened(hub)
    hub.pause = 0.05

    def owner_of(number):
        try:
            return tokens.owner_of(f"{TOKEN}{number}")
        except HubUnavailable as error:
            return error.retry_after

    waiting = [gevent.spawn(owner_of, number) for number in range(MAX_CONCURRENT + 5)]
    gevent.joinall(waiting)
    assert [each.value for each in waiting] == ["hf:ann"] * MAX_CONCURRENT + [1] * 5
    assert tokens.owner_of(f"{TOKEN}new") == "hf:ann"


def test_the_oldest_results_leave_a_full_cache_first(hub, monkeypatch):
    monkeypatch.setattr(huggingface_tokens, "MAX_CACHED", 3)
    tokens = opened(hub)
    for number in (1, 2, 3, 4, 4, 1):
        tokens.owner_of(f"{TOKEN}{number}")
    assert [token[-1] for _, token in hub.asked] == ["1", "2", "3", "4", "1"]


def test_the_cache_does_not_hold_the_token(hub):
    tokens = opened(hub)
    tokens.owner_of(TOKEN)
    assert TOKEN not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (requests.ConnectionError(f"with {TOKEN} in it"), 5),
        (requests.Timeout(), 5),
        (OSError("no route"), 5),
        ((500, {}, {}), 5),
        ((302, {}, {"Location": "https://elsewhere.example/"}), 5),
        ((429, {}, {"Retry-After": "30"}), 30),
        ((429, {}, {"Retry-After": "90000"}), 120),
        ((503, {}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 5),
        ((200, ["no", "object"], {}), 5),
        ((200, {"name": "a\nb"}, {}), 5),
        ((200, {}, {}), 5),
        ((200, told() | {"orgs": 5}, {}), 5),
        ((200, told(role="fineGrained", scoped=[{"permissions": 5}]), {}), 5),
    ],
)
def test_an_unreachable_hub_is_reported_and_asked_again(hub, caplog, answer, retry_after):
    tokens = opened(hub)
    hub.answer = answer
    with pytest.raises(HubUnavailable) as raised:
        tokens.owner_of(TOKEN)
    assert raised.value.retry_after == retry_after
    assert TOKEN not in raised.value.sentence + caplog.text
    hub.answer = (200, told(), {})
    assert tokens.owner_of(TOKEN) == "hf:ann"


def test_a_hub_that_does_not_answer_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(huggingface_tokens, "MAX_SECONDS", 0.05)
    hub.pause = 60
    with pytest.raises(HubUnavailable, match=r"no answer in 0\.05 s"):
        opened(hub).owner_of(TOKEN)


@pytest.mark.parametrize(
    ("content", "opens"),
    [
        (told(role="read"), True),
        (told(role="write"), False),
        (told(role="god"), False),
        ({"name": "ann"}, False),
        (told(role="fineGrained", scoped=[{"permissions": ["repo.content.read"]}]), True),
        (told(role="fineGrained", scoped=[{"permissions": ["repo.content.read", "repo.write"]}]), False),
        (told(role="fineGrained", scoped=[], **{"global": ["discussion.write"]}), False),
        (told(role="fineGrained", scoped=["odd"]), False),
    ],
)
def test_write_tokens_are_accepted_only_if_the_owner_allows_them(hub, content, opens):
    hub.answer = (200, content, {})
    assert opened(hub, read_only=False).owner_of(TOKEN) == "hf:ann"
    if opens:
        assert opened(hub).owner_of(TOKEN) == "hf:ann"
        return
    tokens = opened(hub)
    for _ in range(2):
        with pytest.raises(Forbidden, match="HF_AUTH"):
            tokens.owner_of(TOKEN)
    assert len(hub.asked) == 2


@pytest.mark.parametrize(
    ("users", "opens"), [((), True), (("Ann",), True), (("acme",), True), (("bob", "corp"), False)]
)
def test_only_the_listed_users_and_organisations_have_access(hub, users, opens):
    hub.answer = (200, told(name="ann", orgs=["Acme"]), {})
    if opens:
        assert opened(hub, users).owner_of(TOKEN) == "hf:ann"
    else:
        with pytest.raises(Forbidden, match="HF_USERS"):
            opened(hub, users).owner_of(TOKEN)
