"""A WebSocket session starts what is valid, and refuses everything else for free."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import gevent
import pytest

from imageserver.api.dialects.websocket import views
from imageserver.api.dialects.websocket.text_bytes import BINARY
from imageserver.api.wsgi.bodies.waiting import MIN_COUNTED_BYTES as LARGE
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.errors import Cancelled, QueueFull, ServiceError
from tests.support.enhancing_service import Endpoint, pending_of, service_with


class Session(views._Session):
    """A session without a connection; `refusals` are the frames that it sends."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(views.authentication, "identify", lambda: None)
        monkeypatch.setattr(views.rate_limits, "count_requests", lambda count, number: None)
        monkeypatch.setattr(views.gevent, "spawn", Mock())
        self.ids = Mock(side_effect=[1001, 1002])
        self.room = WaitingBytes(LARGE * 2)
        service = SimpleNamespace(
            request_ids=SimpleNamespace(next_id=self.ids), draining=False, client=Mock(), waiting=self.room
        )
        super().__init__(service, Mock(), 1000, "192.0.2.1")
        self.refusals = []
        self._outbox = SimpleNamespace(put=lambda build: self.refusals.append(build()))

    def receive(self, frame):
        self._receive(frame if isinstance(frame, bytes) else json.dumps(frame).encode())

    def follow_to_its_end(self):
        """Do what the session has started in the background."""
        follow, *arguments = views.gevent.spawn.call_args.args[1:]
        follow(*arguments)

    def end_generation(self):
        number, self._running = self._running.number, None
        return number


@pytest.fixture
def session(monkeypatch):
    return Session(monkeypatch)


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", BINARY, {}, {"prompt": "a cat", "steps": "many"}, {"type": "cancel"}], ids=ascii
)
def test_a_frame_that_starts_nothing_costs_no_request_id(session, junk):
    for _ in range(3):
        session.receive(junk)
    assert session.ids.call_count == 0
    assert {refusal["request_id"] for refusal in session.refusals} <= {None}
    session.receive({"prompt": "a cat"})
    assert session.end_generation() == 1000, "the handshake's own id is left for the first generation"


def test_a_frame_during_a_generation_costs_no_request_id_and_the_next_generation_has_its_own(session):
    session.receive({"prompt": "a cat"})
    session.receive({"prompt": "a dog"})
    assert [(refusal["code"], refusal["request_id"]) for refusal in session.refusals] == [("busy", None)]
    assert session.end_generation() == 1000
    session.receive({"prompt": "a dog"})
    assert (session.end_generation(), session.ids.call_count) == (1001, 1)


def test_a_large_frame_finds_no_room_where_too_many_bytes_wait_and_makes_room_at_its_end(session, monkeypatch):
    monkeypatch.setattr(session, "_send_updates", Mock(side_effect=[ServiceError(), {"type": "result"}]))
    large = b'{"prompt": "a cat"}'.ljust(LARGE)
    session.room.hold("192.0.2.2", LARGE + 1)
    session.receive(large)
    assert [refusal["code"] for refusal in session.refusals] == ["queue_full"]
    session.receive({"prompt": "a small one"})
    session.follow_to_its_end()
    session.room.release("192.0.2.2", LARGE + 1)
    session.receive(large)
    with pytest.raises(QueueFull):
        session.room.hold("192.0.2.1", LARGE)
    session.follow_to_its_end()
    session.room.hold("192.0.2.1", LARGE)


def test_a_large_frame_is_counted_until_it_has_been_sent(session):
    def send(_):
        with pytest.raises(QueueFull):
            session.room.hold("192.0.2.1", LARGE)

    session._connection.send.side_effect = send
    session._send({"type": "result", "data": "x" * LARGE})
    assert session._connection.send.call_count == 1
    session.room.hold("192.0.2.1", LARGE)


@pytest.fixture
def improved(monkeypatch):
    """A generation whose prompt an endpoint would improve for half a minute."""
    service, body = service_with(Endpoint(takes=30.0)), Mock()
    monkeypatch.setattr(views.frames, "pending_of", lambda *_: pending_of(service))
    return views._RunningGeneration(service, 1, body)


def test_a_cancel_ends_the_question_for_a_better_prompt(improved):
    gevent.spawn_later(0.01, improved.cancel)
    with gevent.Timeout(5), pytest.raises(Cancelled):
        next(improved.updates())
    assert improved._service.client.submitted == []
    assert improved._service.client.cancelled == [1]


def test_a_cancel_before_the_model_is_there_lets_no_endpoint_be_asked(improved):
    improved.cancel()
    with gevent.Timeout(5), pytest.raises(Cancelled):
        next(improved.updates())
    assert improved._service.prompt_endpoint.asked == []
    assert improved._service.client.submitted == []
