"""A WebSocket session starts what is valid, and refuses everything else for free."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from imageserver.api.dialects.websocket import views


class Session(views._Session):
    """A session without a connection; `refusals` are the frames that it sends."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(views.authentication, "identify", lambda: None)
        monkeypatch.setattr(views.rate_limits, "count_requests", lambda count, number: None)
        monkeypatch.setattr(views.gevent, "spawn", Mock())
        self.ids = Mock(side_effect=[1001, 1002])
        service = SimpleNamespace(request_ids=SimpleNamespace(next_id=self.ids), draining=False, client=Mock())
        super().__init__(service, Mock(), 1000)
        self.refusals = []
        self._outbox = SimpleNamespace(put=lambda build: self.refusals.append(build()))

    def receive(self, frame):
        self._receive(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def end_generation(self):
        number, self._running = self._running.number, None
        return number


@pytest.fixture
def session(monkeypatch):
    return Session(monkeypatch)


@pytest.mark.parametrize(
    "junk", ["", "{", "[]", b"binary", {}, {"prompt": "a cat", "steps": "many"}, {"type": "cancel"}], ids=ascii
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
