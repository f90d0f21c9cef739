"""What becomes of a generation whose client has left."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.inputs.retry_headers import Retry
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.generation import ModelInfo
from imageserver.imaging.provenance.manifests.claims import Ingredient
from imageserver.telemetry.logs import current_trace
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


def submitted_keys(credential, **origin):
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
        waiting=WaitingBytes(2**30),
    )
    request = GenerationRequest(
        number=1, generation=generation(), output_options=OutputOptions("png", None, None, **origin), timeout=1.0,
        credential=credential,
    )  # fmt: skip
    next(PendingGeneration(service, request).updates())
    return asked


def test_no_key_learns_from_a_quick_answer_what_another_has_generated():
    ann, bob = submitted_keys("ann"), submitted_keys("bob")
    assert len(ann) == 2
    assert not set(ann) & set(bob)
    assert ann == submitted_keys("ann")


def signer_of(serial, *, is_valid=True):
    return SimpleNamespace(certificate=SimpleNamespace(serial=serial, is_valid=is_valid))


def test_images_that_a_certificate_signs_no_more_are_cached_with_those_that_nobody_signs():
    expired = signer_of("1", is_valid=False)
    assert (
        submitted_keys("ann", signer=expired) == submitted_keys("ann") != submitted_keys("ann", signer=signer_of("1"))
    )


def test_an_answer_from_the_cache_says_what_the_settings_of_now_say_of_its_origin():
    signers = [signer_of(serial) for serial in ("1", "2")]
    parents = [(Ingredient(label="image", relationship="parentOf", digest=digest),) for digest in "ab"]
    origins = [{}, *({"signer": signer} for signer in signers), *({"ingredients": parent} for parent in parents)]
    assert len({submitted_keys("ann", **origin)[0] for origin in origins}) == len(origins)


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
        waiting=WaitingBytes(2**30),
    )
    request = GenerationRequest(
        number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=1.0, source=b"rgb"
    )
    pending = PendingGeneration(service, request)
    next(pending.updates())
    assert (submitted, pending.request.source) == ([b"rgb"], b"")


def test_the_dispatcher_is_told_the_trace_of_a_generation():
    submitted = []

    def submit(message, source):
        submitted.append(message.trace_id)
        return SimpleNamespace(updates=lambda pause: iter((None, None)))

    service = SimpleNamespace(
        client=SimpleNamespace(submit=submit), info_of=lambda name: None, measurements=MetricRegistry(), tracing=None,
        waiting=WaitingBytes(2**30),
    )  # fmt: skip
    request = GenerationRequest(
        number=1, generation=generation(), output_options=OutputOptions("png", None, None), timeout=1.0
    )
    with Flask("tracing").test_request_context(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
        next(PendingGeneration(service, request).updates())
    current_trace.set("")
    assert submitted == ["a" * 32]
