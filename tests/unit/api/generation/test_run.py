"""How long an order is kept for a client that has left."""

import gevent
import pytest

from imageserver.api.generation import run
from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.output_options import OutputOptions
from tests.support.factories import generation


@pytest.fixture
def leave(monkeypatch):
    """Let a client leave an order, and return when the order was stopped: at once, later or never."""
    monkeypatch.setattr(run, "KEYED_GRACE_SECONDS", 0.05)

    def act(**fields):
        stopped = []
        order = GenerationRequest(
            number=1, generation=generation(), finish=OutputOptions("png", None, None), timeout=1.0, **fields
        )
        fulfilment = PendingGeneration(service=None, order=order)
        monkeypatch.setattr(fulfilment, "cancel", lambda: stopped.append(True))
        fulfilment.client_left()
        at_once = bool(stopped)
        gevent.sleep(0.3)
        return at_once, len(stopped)

    return act


def test_an_order_whose_client_left_for_good_is_stopped_at_once(leave):
    assert leave() == (True, 1)


def test_an_order_whose_client_returns_is_kept_for_a_while_and_not_for_ever(leave):
    assert leave(client_returns=True) == (False, 1)


def test_a_client_that_left_before_it_could_have_lost_patience_does_not_return(leave):
    assert leave(client_returns=True, returns_after=60.0) == (True, 1)
