"""Bodies that have arrived take a bounded memory until their requests are answered, and answers until they are sent."""

from types import SimpleNamespace

import pytest
from flask import Flask, Response, request

from imageserver.api.wsgi.bodies.arriving import BODY_KEY, hold, register
from imageserver.api.wsgi.bodies.waiting import MIN_COUNTED_BYTES, WaitingBytes
from imageserver.errors import QueueFull
from imageserver.web_addresses import TrustedProxies

ANN, BOB, CAT = "192.0.2.1", "192.0.2.2", "192.0.2.3"
LARGE = MIN_COUNTED_BYTES


class WaitingServer:
    """Has room for four large bodies; while one waits for its answer, the next ones of `meanwhile` are sent."""

    def __init__(self):
        self.app, self.meanwhile, self.statuses = Flask(__name__), [], []
        self.app.register_error_handler(QueueFull, lambda error: (error.sentence, error.status))
        register(self.app, 100 * LARGE, 4 * LARGE, TrustedProxies("127.0.0.1"))
        self.app.add_url_rule("/", view_func=self._answer, methods=["POST"])
        self._counted, self.app.wsgi_app = self.app.wsgi_app, self._with_plain_body

    def _with_plain_body(self, environ, start_response):
        """A body of gunicorn or gevent has fewer methods than one of werkzeug's test client."""
        plain = SimpleNamespace(read=environ["wsgi.input"].read)
        return self._counted(environ | {"wsgi.input": plain}, start_response)

    def _answer(self):
        data = request.stream.read()
        # werkzeug asks once more whether there is more.
        request.stream.read(1)
        if self.meanwhile:
            self.send(*self.meanwhile.pop(0))
        if data.endswith(b"fail"):
            raise RuntimeError("of the application")
        if data.endswith(b"answer"):
            return Response(b"x" * 2 * LARGE)
        if data.endswith(b"further"):
            hold(2 * LARGE)
        if data.endswith(b"repeat"):
            request.environ[BODY_KEY].lasts_until_sent = True
            return Response(iter([data]))
        return ""

    def send(self, client, body):
        sent = self.app.test_client().post("/", data=body, headers={"X-Forwarded-For": client})
        self.statuses.append(sent.status_code)

    def send_together(self, *clients, small=()):
        """Send large bodies and then small ones, each while those before it wait, and return the statuses, sorted."""
        self.meanwhile = [(client, b"x" * LARGE) for client in clients]
        self.meanwhile += [(client, b"x" * (LARGE - 1)) for client in small]
        self.statuses = []
        self.send(*self.meanwhile.pop(0))
        return sorted(self.statuses)


@pytest.fixture
def server():
    return WaitingServer()


def test_one_client_has_three_quarters_of_the_room_and_gets_it_back_with_its_answers(server):
    assert server.send_together(ANN, ANN, ANN) == [200, 200, 200]
    assert server.send_together(ANN, ANN, ANN, ANN) == [200, 200, 200, 429]
    assert server.send_together(ANN, ANN, ANN) == [200, 200, 200], "what was answered makes room"


def test_others_have_the_last_quarter_and_all_together_no_more(server):
    assert server.send_together(ANN, ANN, ANN, BOB) == [200] * 4
    assert server.send_together(ANN, ANN, BOB, CAT, BOB) == [200, 200, 200, 200, 429]


def test_the_refusal_says_which_limit_it_is_and_when_to_come_back():
    waiting = WaitingBytes(LARGE)
    with waiting.held(ANN, LARGE), pytest.raises(QueueFull, match="MAX_WAITING_MB") as refused:
        waiting.hold(ANN, LARGE)
    assert refused.value.retry_after > 0


def test_a_request_without_an_image_is_not_refused_because_of_large_ones(server):
    assert server.send_together(ANN, ANN, ANN, BOB, small=[BOB] * 9) == [200] * 13


def test_an_application_that_fails_keeps_no_room(server):
    for _ in range(5):
        server.send(ANN, b"x" * LARGE + b"fail")
    assert server.statuses == [500] * 5
    assert server.send_together(ANN, ANN, ANN) == [200] * 3


def test_what_an_answer_repeats_is_counted_until_the_answer_has_been_sent(server):
    body = b"x" * LARGE + b"repeat"
    answer = server.app.test_client().post("/", data=body, headers={"X-Forwarded-For": ANN})
    assert server.send_together(ANN, ANN) == [200, 429]
    assert answer.data == body
    answer.close()
    assert server.send_together(ANN, ANN, ANN) == [200, 200, 200]


def test_a_large_answer_is_counted_until_it_has_been_sent_in_place_of_its_request(server):
    answer = server.app.test_client().post("/", data=b"x" * LARGE + b"answer", headers={"X-Forwarded-For": ANN})
    assert server.send_together(ANN, ANN) == [200, 429]
    assert answer.data == b"x" * 2 * LARGE
    answer.close()
    assert server.send_together(ANN, ANN, ANN) == [200, 200, 200]


def test_what_a_request_needs_beside_its_body_finds_room_or_is_refused_and_makes_room_at_its_end(server):
    for client, status in ((ANN, 200), (BOB, 200), (ANN, 200)):
        server.send(client, b"further")
        assert server.statuses.pop() == status
    server.meanwhile = [(ANN, b"x" * LARGE), (ANN, b"further")]
    server.send(ANN, b"x" * LARGE)
    assert server.statuses == [429, 200, 200]
    assert server.send_together(ANN, ANN, ANN) == [200, 200, 200]


def test_whoever_does_not_read_its_answers_gets_no_more_than_its_room_until_it_has_read_them():
    waiting = WaitingBytes(4 * LARGE)
    for _ in range(3):
        waiting.add(ANN, LARGE)
        waiting.refuse_overdrawn(ANN)
    # The device has generated it.
    with waiting.added(ANN, LARGE):
        with pytest.raises(QueueFull):
            waiting.refuse_overdrawn(ANN)
        waiting.refuse_overdrawn(BOB)
    waiting.refuse_overdrawn(ANN)


@pytest.mark.parametrize("size", [3 * LARGE, 9 * LARGE])
def test_what_is_larger_than_the_room_finds_it_beside_its_request_alone_and_leaves_none_for_a_second(size):
    waiting = WaitingBytes(4 * LARGE)
    with waiting.held(ANN, LARGE), waiting.held(ANN, size):
        for client in (ANN, BOB):
            with pytest.raises(QueueFull):
                waiting.hold(client, size)
    with waiting.held(ANN, LARGE), waiting.held(BOB, LARGE), waiting.held(CAT, LARGE), pytest.raises(QueueFull):
        waiting.hold(ANN, size)


def test_answers_that_one_client_does_not_read_leave_others_their_quarter():
    waiting = WaitingBytes(4 * LARGE)
    waiting.add(ANN, 9 * LARGE)
    with pytest.raises(QueueFull):
        waiting.refuse_overdrawn(ANN)
    waiting.refuse_overdrawn(BOB)
    waiting.hold(BOB, LARGE)
    with pytest.raises(QueueFull):
        waiting.hold(CAT, LARGE)
    waiting.release(ANN, 9 * LARGE)
    waiting.hold(ANN, 3 * LARGE)
