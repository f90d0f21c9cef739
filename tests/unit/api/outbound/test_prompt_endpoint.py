"""A chat endpoint of the owner's writes better prompts; whatever it does else, there is a sentence and no secret."""

import gevent
import pytest

from imageserver.api.outbound import prompt_endpoint
from imageserver.api.outbound.prompt_endpoint import EndpointFailed, PromptEndpoint, read_prompt_endpoint
from imageserver.settings import Settings
from tests.support.scripted_http import scripted_server

PATH = "POST /v1/chat/completions"


def completion(text):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def chat():
    with scripted_server() as server:
        server.answers[PATH] = completion(' "A better fox." ')
        yield server


def endpoint(chat, *, key="", model="", max_chars=1000):
    return PromptEndpoint(f"{chat.url}/v1", key, model, max_chars)


def ask(chat, **options):
    return endpoint(chat, **options).better_prompt("fox", "ann", edits=False)


def test_it_is_asked_as_openais_api_is_with_the_key_and_the_model(chat):
    assert ask(chat, key="secret", model="small") == "A better fox."
    [request] = chat.requests
    assert request.key == "Bearer secret"
    assert request.body["model"] == "small"
    assert [message["role"] for message in request.body["messages"]] == ["system", "user"]
    assert request.body["messages"][1]["content"] == "fox"


def test_without_a_key_and_a_model_neither_is_sent_and_the_whole_address_will_do(chat):
    whole = PromptEndpoint(f"{chat.url}/v1/chat/completions/", "", "", 1000)
    assert whole.better_prompt("fox", "ann", edits=True) == "A better fox."
    [request] = chat.requests
    assert request.key == ""
    assert "model" not in request.body
    assert "image editor" in request.body["messages"][0]["content"]


def test_the_same_prompt_of_the_same_client_is_asked_once(chat):
    asking = endpoint(chat)
    for client in ("ann", "ann", "bob"):
        asking.better_prompt("fox", client, edits=False)
    assert len(chat.requests) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, {"error": "secret words"}), "it returned 500"),
        ((302, b""), "it returned 302"),
        ((200, b"garbage"), "not a chat completion"),
        ((200, b"\xff\xfe"), "not a chat completion"),
        ((200, b"[" * 100_000), "not a chat completion"),
        ((200, {"choices": []}), "not a chat completion"),
        ((200, {"choices": [{"message": {"content": None}}]}), "not a chat completion"),
        (completion("  "), "no words"),
        (completion("long " * 1000), "MAX_PROMPT_CHARS"),
        ((200, b" " * 300_000), "more than 262144 bytes"),
    ],
)
def test_whatever_else_it_answers_there_is_a_reason_that_quotes_nothing(chat, answer, reason):
    chat.answers[PATH] = answer
    with pytest.raises(EndpointFailed, match=reason) as raised:
        ask(chat, key="secret")
    assert "secret" not in str(raised.value)
    assert chat.url not in str(raised.value)


def test_one_that_is_not_there_and_one_that_is_slow_end_in_a_sentence(chat, monkeypatch):
    with pytest.raises(EndpointFailed, match="did not answer"):
        PromptEndpoint("http://127.0.0.1:9/v1", "", "", 1000).better_prompt("fox", "ann", edits=False)
    monkeypatch.setattr(prompt_endpoint, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(PromptEndpoint, "_ask", lambda *_: gevent.sleep(5))
    with pytest.raises(EndpointFailed, match="took longer"):
        ask(chat)


class SlowEndpoint(PromptEndpoint):
    """Takes a while for each answer, and counts what it is asked."""

    def __init__(self, *, seconds=0.01):
        super().__init__("http://127.0.0.1:9/v1", "", "", 1000)
        self.seconds, self.asked, self.open, self.most = seconds, 0, 0, 0

    def _ask(self, prompt, edits):
        self.asked, self.open = self.asked + 1, self.open + 1
        self.most = max(self.most, self.open)
        try:
            gevent.sleep(self.seconds)
        finally:
            self.open -= 1
        return f"a better {prompt}"


def all_asking(endpoint, prompts, client="ann"):
    return [gevent.spawn(endpoint.better_prompt, prompt, client, edits=False) for prompt in prompts]


def all_answers(endpoint, prompts):
    return [each.get() for each in all_asking(endpoint, prompts)]


def test_a_prompt_that_many_wait_for_is_asked_once():
    slow = SlowEndpoint()
    assert all_answers(slow, ["fox"] * 5) == ["a better fox"] * 5
    assert slow.asked == 1


def test_a_few_prompts_are_asked_at_a_time_and_all_are_answered():
    slow = SlowEndpoint()
    prompts = [str(number) for number in range(3 * prompt_endpoint.MAX_CALLS)]
    assert all_answers(slow, prompts) == [f"a better {prompt}" for prompt in prompts]
    assert slow.most == prompt_endpoint.MAX_CALLS_OF_ONE < prompt_endpoint.MAX_CALLS


def test_the_batch_of_one_client_leaves_places_to_the_others():
    slow = SlowEndpoint(seconds=0.05)
    batch = all_asking(slow, [str(number) for number in range(50)])
    gevent.sleep(0.01)
    with gevent.Timeout(0.1, AssertionError("bob waits for ann's batch")):
        assert slow.better_prompt("fox", "bob", edits=False) == "a better fox"
    assert sum(each.ready() for each in batch) <= 2 * prompt_endpoint.MAX_CALLS_OF_ONE
    gevent.killall(batch)


def test_all_places_are_used_where_several_ask():
    slow = SlowEndpoint()
    gevent.joinall([*all_asking(slow, map(str, range(20))), *all_asking(slow, map(str, range(20)), "bob")])
    assert (slow.most, slow.asked) == (prompt_endpoint.MAX_CALLS, 40)


def test_without_keys_all_places_are_used_because_nobody_can_be_told_from_the_others(monkeypatch):
    monkeypatch.setattr(prompt_endpoint, "MAX_WAITING_OF_ONE", 1)
    slow = SlowEndpoint()
    prompts = [str(number) for number in range(2 * prompt_endpoint.MAX_CALLS)]
    answers = [each.get() for each in all_asking(slow, prompts, client="")]
    assert (slow.most, len(answers)) == (prompt_endpoint.MAX_CALLS, len(prompts))


def test_what_waits_of_one_client_is_bounded_and_takes_no_room_from_others(monkeypatch):
    monkeypatch.setattr(prompt_endpoint, "MAX_WAITING_OF_ONE", 1)
    slow = SlowEndpoint()
    first = gevent.spawn(slow.better_prompt, "fox", "ann", edits=False)
    gevent.sleep(0)
    with pytest.raises(EndpointFailed, match="too many prompts wait"):
        slow.better_prompt("owl", "ann", edits=False)
    assert slow.better_prompt("owl", "bob", edits=False) == "a better owl"
    assert first.get() == "a better fox"


def test_one_too_many_does_not_wait(monkeypatch):
    monkeypatch.setattr(prompt_endpoint, "MAX_WAITING", 1)
    slow = SlowEndpoint()
    first = gevent.spawn(slow.better_prompt, "fox", "ann", edits=False)
    gevent.sleep(0)
    with pytest.raises(EndpointFailed, match="too many prompts wait"):
        slow.better_prompt("owl", "ann", edits=False)
    assert first.get() == "a better fox"
    assert slow.better_prompt("owl", "ann", edits=False) == "a better owl"


def test_a_client_with_little_time_waits_no_longer_and_nobody_is_asked_on_its_behalf_then():
    slow = SlowEndpoint(seconds=5)
    with pytest.raises(EndpointFailed, match=r"took longer than 0\.02 s"):
        slow.better_prompt("fox", "ann", edits=False, seconds=0.02)
    gevent.sleep(0)
    assert slow.open == 0


def test_without_an_address_there_is_none():
    assert read_prompt_endpoint(Settings(_env_file=None)) is None
    assert read_prompt_endpoint(Settings(_env_file=None, enhance_url="http://127.0.0.1:1/v1")) is not None
