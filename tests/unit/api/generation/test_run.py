"""What becomes of a generation whose client has left."""

from types import SimpleNamespace

import pytest

from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.inputs.retry_headers import Retry
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.generation import ModelInfo
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.factories import generation

INFO = ModelInfo(name="scripted")
RETRY = Retry("what the SDK sent", 0)


@pytest.fixture
def leave():
    """Let a client leave, and return what the dispatcher is told of it."""

    class DispatcherClient:
        def __init__(self):
            self.sent = []

        def cancel(self, number):
            self.sent.append(("cancel", number))

        def client_left(self, number):
            self.sent.append(("client left", number))

    class FakeServices:
        client = DispatcherClient()

    def act(**fields):
        request = GenerationRequest(
            number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=1.0, **fields
        )
        PendingGeneration(FakeServices, request).client_left()
        return FakeServices.client.sent

    return act


def test_a_generation_whose_client_left_for_good_is_stopped_at_once(leave):
    assert leave() == [("cancel", 1)]


@pytest.mark.parametrize("fields", [{"idempotency_key": "mine"}, {"retry": RETRY}])
def test_a_generation_whose_client_may_come_back_is_left_to_the_dispatcher(leave, fields):
    assert leave(**fields) == [("client left", 1)]


def test_a_client_that_left_before_it_could_have_lost_patience_does_not_return(leave):
    assert leave(retry=RETRY, returns_after=60.0) == [("cancel", 1)]


def submitted_keys(credential):
    """Return under which keys a request is cached, and joins the same one under way."""
    asked = []

    class Cache:
        def get(self, key):
            asked.append(key)

    def submit(message, source):
        asked.append(message.twin_key)
        return SimpleNamespace(updates=lambda pause: iter((None,)))

    service = SimpleNamespace(
        client=SimpleNamespace(submit=submit),
        info_of=lambda name: INFO,
        cache=Cache(),
        thread_pool=ThreadPool(1),
        measurements=MetricRegistry(),
        tracing=None,
    )
    request = GenerationRequest(
        number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=1.0,
        credential=credential,
    )  # fmt: skip
    next(PendingGeneration(service, request).updates())
    return asked


def test_no_key_learns_from_a_quick_answer_what_another_has_generated():
    ann, bob = submitted_keys("ann"), submitted_keys("bob")
    assert len(ann) == 2
    assert not set(ann) & set(bob)
    assert ann == submitted_keys("ann")


def test_the_pixels_of_a_waiting_generation_are_kept_by_the_dispatcher_alone():
    submitted = []

    def submit(message, source):
        submitted.append(source)
        return SimpleNamespace(updates=lambda pause: iter((None, None)))

    service = SimpleNamespace(
        client=SimpleNamespace(submit=submit),
        info_of=lambda name: None,
        measurements=MetricRegistry(),
        tracing=None,
    )
    request = GenerationRequest(
        number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=1.0, source=b"rgb"
    )
    pending = PendingGeneration(service, request)
    next(pending.updates())
    assert (submitted, pending.request.source) == ([b"rgb"], b"")
