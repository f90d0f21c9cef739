"""A request whose prompt an endpoint improves first: refused before, stopped meanwhile, and never kept too long."""

import socket
from dataclasses import replace
from types import SimpleNamespace

import gevent
import pytest

from imageserver.api.generation import run
from imageserver.api.outbound.prompt_endpoint import EndpointFailed
from imageserver.api.wsgi.bodies.waiting import MIN_COUNTED_BYTES as LARGE
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.dispatch.client.ticket import Image
from imageserver.errors import Cancelled, QueueFull
from imageserver.generation import ModelInfo, Outcome
from imageserver.imaging.finishing import FinishedImages
from tests.support.enhancing_service import QUEUED, Endpoint, pending_of, service_with


def test_a_full_server_refuses_before_it_asks_the_endpoint():
    service = service_with(Endpoint())
    service.client.is_full = True
    with pytest.raises(QueueFull):
        next(pending_of(service).updates())
    assert service.prompt_endpoint.asked == []
    # One that may be generated already takes no place.
    next(pending_of(service, idempotency_key="mine").updates())
    assert len(service.client.submitted) == 1


def test_pixels_that_wait_for_a_better_prompt_find_room_or_are_refused_and_make_room_afterwards(monkeypatch):
    monkeypatch.setattr(run, "HEARTBEAT_SECONDS", 0.01)
    service = service_with(Endpoint(takes=0.05))
    service.waiting = WaitingBytes(2 * LARGE)
    first = pending_of(service, source=bytes(LARGE), client="192.0.2.1").updates()
    assert next(first) is None
    with pytest.raises(QueueFull, match="MAX_WAITING_MB"):
        next(pending_of(service, source=bytes(LARGE), client="192.0.2.1").updates())
    # Others have their part, and without an image there is nothing to count.
    assert next(pending_of(service, source=bytes(LARGE), client="192.0.2.2").updates()) is None
    assert next(pending_of(service, client="192.0.2.1").updates()) is None
    assert len(service.prompt_endpoint.asked) == 3
    *_, last = first
    assert last == QUEUED
    assert next(pending_of(service, source=bytes(LARGE), client="192.0.2.1").updates()) is None


def test_half_of_the_clients_time_is_left_for_its_image_and_what_was_used_is_subtracted():
    service = service_with(Endpoint(takes=0.05))
    next(pending_of(service, patience=4.0).updates())
    assert service.prompt_endpoint.asked == [("fox", 2.0)]
    [message] = service.client.submitted
    assert message.client_timeout <= 4.0 - 0.05
    assert message.timeout <= 60.0 - 0.05


def test_a_stream_hears_something_while_the_endpoint_is_asked(monkeypatch):
    monkeypatch.setattr(run, "HEARTBEAT_SECONDS", 0.02)
    *heartbeats, last = pending_of(service_with(Endpoint(takes=0.1))).updates()
    assert heartbeats
    assert set(heartbeats) == {None}
    assert last == QUEUED


def test_one_that_is_cancelled_while_the_endpoint_is_asked_is_never_submitted():
    service = service_with(Endpoint(takes=30.0))
    pending = pending_of(service)
    gevent.spawn(pending.cancel)
    with gevent.Timeout(5), pytest.raises(Cancelled):
        next(pending.updates())
    assert service.client.submitted == []


def test_a_client_that_leaves_while_the_endpoint_is_asked_ends_its_request():
    service = service_with(Endpoint(takes=30.0))
    ours, theirs = socket.socketpair()
    gevent.spawn(theirs.close)
    with ours, gevent.Timeout(5), pytest.raises(Cancelled):
        pending_of(service).stream({SOCKET_KEY: ours})
    assert service.client.submitted == []


def test_the_dispatcher_hears_of_a_client_that_left_before_it_knew_of_the_request_and_may_come_back():
    service = service_with(Endpoint(takes=0.02))
    pending = pending_of(service, idempotency_key="mine")
    gevent.spawn(pending.client_left)
    # A busy machine may put a heartbeat first.
    assert [update for update in pending.updates() if update is not None] == [QUEUED]
    assert service.client.left == [1, 1]
    assert len(service.client.submitted) == 1


def test_one_that_nobody_wants_any_more_is_not_submitted():
    service = service_with(Endpoint())
    with pytest.raises(Cancelled):
        next(pending_of(service, still_wanted=lambda: False).updates())
    assert service.client.submitted == []


def test_one_that_is_cancelled_in_the_moment_of_its_submission_is_ended_there():
    service, answers = service_with(Endpoint()), [True, False]
    with pytest.raises(Cancelled):
        list(pending_of(service, still_wanted=lambda: answers.pop(0)).updates())
    assert (len(service.client.submitted), service.client.cancelled) == (1, [1])


def test_one_that_is_cancelled_before_the_dispatcher_knew_of_it_is_ended_there_without_an_endpoint_too():
    service = service_with(None)
    pending = pending_of(service)
    pending.cancel()
    with pytest.raises(Cancelled):
        list(pending.updates())
    assert service.client.cancelled == [1, 1]


def test_a_stream_that_is_dropped_while_the_endpoint_is_asked_submits_nothing_and_its_retry_starts_again(monkeypatch):
    monkeypatch.setattr(run, "HEARTBEAT_SECONDS", 0.01)
    service = service_with(Endpoint(takes=30.0))
    stream = pending_of(service, idempotency_key="mine").stream({})
    assert next(stream) is None
    stream.close()
    gevent.sleep(0.03)
    assert (service.client.submitted, service.client.left) == ([], [1])
    service.prompt_endpoint.takes = 0.0
    next(pending_of(service, idempotency_key="mine").stream({}))
    assert len(service.client.submitted) == 1


def twin_key_of(answer, **fields):
    service = service_with(Endpoint(answer))
    next(pending_of(service, **fields).updates())
    return service.client.submitted[0].twin_key


def test_a_retry_joins_its_first_try_though_its_own_prompt_was_not_improved():
    failed = EndpointFailed("it is away")
    assert twin_key_of(failed, idempotency_key="mine") == twin_key_of("a better fox", idempotency_key="mine")
    assert twin_key_of(failed) != twin_key_of("a better fox")


def test_one_that_joins_a_generation_with_a_better_prompt_does_not_say_that_there_is_none(monkeypatch):
    monkeypatch.setattr(run, "encode_images", lambda *_: FinishedImages((b"png",)))
    outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=1.0, queue_time=0.0, batch_size=1)

    def warnings_with(outcome):
        service = service_with(Endpoint(EndpointFailed("it is away")))
        service.client.submit = lambda message, source: SimpleNamespace(
            updates=lambda pause: iter([Image(outcome, b"", joined=True)])
        )
        *_, result = pending_of(service, idempotency_key="mine").updates()
        return result.warnings

    assert warnings_with(outcome) == [
        "enhance failed, so the image was generated from the prompt as it is: it is away."
    ]
    assert warnings_with(replace(outcome, revised_prompt="a better fox")) == []


def test_what_one_language_model_wrote_is_not_the_answer_of_the_next():
    def keys_with(endpoint, model):
        service = service_with(endpoint)
        service.settings.enhance_model = model
        return run._cache_keys(service, pending_of(service).request, ModelInfo(name="model"))

    assert keys_with(Endpoint(), "small") == keys_with(Endpoint(), "small")
    assert keys_with(Endpoint(), "small") != keys_with(Endpoint(), "large")
    # Without an endpoint the model writes itself, and its revision is in the key.
    assert keys_with(None, "small") == keys_with(None, "large")
