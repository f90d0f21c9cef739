"""An image is described by a job like any other, within the same limits."""

import contextlib
import time
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g

from imageserver.api.captions import caption as caption_module
from imageserver.api.captions.caption import MAX_PIXELS, caption
from imageserver.api.captions.models import captions_model
from imageserver.api.credentials.api_keys import Owner
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.client_limits import ClientLimits
from imageserver.dispatch.client.ticket import Image
from imageserver.errors import Cancelled, InvalidParameter, NotFound, QueueFull
from imageserver.generation import ModelInfo, Outcome
from imageserver.protocol.messages import Queued, Started, Submit
from imageserver.settings import Settings
from tests.support.images import one_colour

MODEL = ModelInfo(name="edit", captions=True)
OUTCOME = Outcome(
    width=64, height=64, seeds=(), inference_time=1.0, queue_time=0.0, batch_size=1, caption="a teal square"
)


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


class InstantService:
    """A service whose dispatcher answers at once; `seen` is what happened, in order."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.seen: list[str] = []
        self.submitted: list[tuple[Submit, bytes]] = []
        self.counted: list[tuple[Any, ...]] = []
        self.settings = Settings(_env_file=None, request_timeout=60)
        self.thread_pool = ThreadPool(1)
        self.client = self
        self.decoding_memory = SimpleNamespace(reserve=self.reserve)
        self.measurements = SimpleNamespace(
            observe=lambda *_: None, count=lambda *counted: self.counted.append(counted)
        )
        self.request_ids = SimpleNamespace(next_id=lambda: 7)
        self.proxies = SimpleNamespace(client_of=lambda address, _: address)
        self.tracing = None
        self._refusal = refusal

    @contextlib.contextmanager
    def reserve(self, size: int, timeout: float, environ: dict[str, Any]):
        self.seen.append("memory")
        yield
        self.seen.append("freed")

    def count(self, *counted: Any) -> None:
        self.counted.append(counted)

    def request_admission(self, number: int, credential: str) -> None:
        self.seen.append("asked")
        if self._refusal is not None:
            raise self._refusal

    def info_of(self, name: str) -> ModelInfo:
        return MODEL

    def submit(self, message: Submit, source: bytes) -> Any:
        self.seen.append("submitted")
        self.submitted.append((message, source))
        updates = [Queued(job=7, own=1, wait=0, position=0), Started(job=7), None, Image(OUTCOME, b"")]
        return SimpleNamespace(updates=lambda pause: iter(updates))

    def cancel(self, number: int) -> None:
        self.seen.append("cancelled")

    def caption(self, data: bytes) -> str:
        app = Flask("captions")
        app.extensions[EXTENSION] = self
        with app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}, headers={"traceparent": TRACE}):
            g.owner = Owner("anna", "user", ClientLimits(seconds_per_hour=10))
            g.arrived = time.monotonic()
            return caption(self, data, "sentence", MODEL, name="image", dialect="automatic1111")


def test_a_large_image_is_scaled_down_and_submitted_for_its_client() -> None:
    service = InstantService()
    assert service.caption(one_colour(1600, 900)) == "a teal square"
    assert service.seen == ["memory", "asked", "freed", "submitted"]
    [(message, pixels)] = service.submitted
    wanted = message.generation
    assert wanted.width * wanted.height <= MAX_PIXELS
    assert wanted.width / wanted.height == pytest.approx(1600 / 900, rel=0.01)
    assert len(pixels) == message.max_raw_bytes == 3 * wanted.width * wanted.height
    assert (wanted.caption, wanted.count, wanted.model) == ("sentence", 0, "edit")
    assert (message.credential, message.account, message.client) == ("anna", "anna", "192.0.2.1")
    assert message.trace_id == "a" * 32
    assert message.limits.seconds_per_hour == 10
    # No other request gets its answer.
    assert (message.twin_key, message.retry_key) == (None, None)
    assert service.counted == [], "the share of hits is that of images"


def test_one_whose_client_leaves_while_its_image_is_read_is_cancelled_once_the_dispatcher_knows_it(monkeypatch) -> None:
    @contextlib.contextmanager
    def gone_at_once(environ, on_leave):
        on_leave()
        yield

    monkeypatch.setattr(caption_module, "while_client_stays", gone_at_once)
    service = InstantService()
    with pytest.raises(Cancelled):
        service.caption(one_colour(64, 64))
    assert service.seen[-2:] == ["submitted", "cancelled"]


def test_a_full_queue_refuses_it_before_its_image_is_decoded() -> None:
    service = InstantService(QueueFull("The server is full."))
    with pytest.raises(QueueFull):
        service.caption(one_colour(64, 64))
    assert service.submitted == []


def test_what_is_not_an_image_is_refused_by_name() -> None:
    service = InstantService()
    with pytest.raises(InvalidParameter) as raised:
        service.caption(b"no image")
    assert raised.value.param == "image"
    assert service.seen == []


def test_the_default_model_goes_first_and_one_in_memory_before_one_that_is_not() -> None:
    plain, first, second = ModelInfo(name="plain"), ModelInfo(name="a", captions=True), MODEL
    snapshot = SimpleNamespace(models=(plain, first, second), loaded=("plain", "edit"))
    service = SimpleNamespace(snapshot=snapshot, loaded_info=lambda: plain)
    assert captions_model(service) is second
    service.loaded_info = lambda: first
    assert captions_model(service) is first
    service = SimpleNamespace(snapshot=SimpleNamespace(models=(plain,), loaded=()), loaded_info=lambda: plain)
    with pytest.raises(NotFound, match="describes images"):
        captions_model(service)
