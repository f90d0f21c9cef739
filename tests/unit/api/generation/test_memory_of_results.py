"""While an answer is sent, which may take long, its pixels are gone and its files are counted."""

import sys
from types import SimpleNamespace

import pytest

from imageserver.api.generation import run
from imageserver.api.generation.run import GenerationRequest, GenerationResult, PendingGeneration
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.bodies.arriving import BODY_KEY
from imageserver.api.wsgi.bodies.waiting import MIN_COUNTED_BYTES, WaitingBytes
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.ticket import Ticket
from imageserver.errors import QueueFull
from imageserver.generation import ModelInfo, Outcome
from imageserver.imaging.finishing import FinishedImages
from imageserver.outputs.cache import OutputCache
from imageserver.protocol.messages import Finished, Queued
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.factories import generation

FILE = bytes(MIN_COUNTED_BYTES)
ANN, BOB = "192.0.2.1", "192.0.2.2"


class GeneratingServer:
    """Generates FILE at once, and has the pixels that it is sent and that it generates."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setattr(run, "encode_images", lambda *_: FinishedImages((FILE,)))
        # New objects, whose references are counted.
        self.source, self.pixels = bytes(bytearray(1000)), bytes(bytearray(1001))
        self.waiting = WaitingBytes(4 * run.SENT_COPIES * len(FILE))
        self._service = SimpleNamespace(
            client=SimpleNamespace(submit=self._submit, record_cache_hit=lambda hit: None, cancel=lambda number: None),
            info_of=lambda name: ModelInfo(name="demo"), cache=OutputCache(folder, max_mb=10),
            thread_pool=ThreadPool(1), prompt_endpoint=None, measurements=MetricRegistry(), tracing=None,
            waiting=self.waiting,
        )  # fmt: skip

    def _submit(self, message, source):
        ticket = Ticket(message.job, 60.0, lambda job: None)
        ticket.receive(Queued(job=1, own=1.0, wait=0.0, position=0))
        outcome = Outcome(
            width=64, height=64, seeds=(message.generation.seed,), inference_time=2.0, queue_time=0.0, batch_size=1
        )
        ticket.receive(Finished(job=1, outcome=outcome), self.pixels)
        return ticket

    def stream(self, client=ANN, **fields):
        """Return a stream that has come to its result, and the result; another `seed` is another request."""
        updates = self.pending(client, **fields).stream({})
        while not isinstance(result := next(updates), GenerationResult):
            pass
        return updates, result

    def pending(self, client=ANN, **fields):
        request = GenerationRequest(
            number=1, generation=generation(**fields), output_options=OutputOptions("png", None, None), timeout=60.0,
            client=client, source=self.source,
        )  # fmt: skip
        return PendingGeneration(self._service, request)

    def room_of(self, client):
        """Return how many results of a client would find room."""
        count = 0
        try:
            for _ in range(9):
                self.waiting.hold(client, run.SENT_COPIES * len(FILE))
                count += 1
        except QueueFull:
            pass
        for _ in range(count):
            self.waiting.release(client, run.SENT_COPIES * len(FILE))
        return count


@pytest.fixture
def server(tmp_path, monkeypatch):
    return GeneratingServer(tmp_path, monkeypatch)


def test_a_stream_that_sends_its_result_keeps_no_pixels_wherever_that_comes_from(server):
    references = sys.getrefcount(server.source), sys.getrefcount(server.pixels)
    generated, repeated = server.stream(), server.stream()
    assert [result.origin for _, result in (generated, repeated)] == ["miss", "hit"]
    assert (sys.getrefcount(server.source), sys.getrefcount(server.pixels)) == references


def test_the_files_of_a_stream_are_counted_until_it_ends_or_its_client_leaves(server):
    assert server.room_of(ANN) == 3
    generated, repeated = server.stream()[0], server.stream()[0]
    assert server.room_of(ANN) == 1
    assert list(generated) == []
    assert server.room_of(ANN) == 2
    repeated.close()
    assert server.room_of(ANN) == 3


def test_an_answer_from_the_cache_is_refused_without_room_and_a_generation_beyond_the_room(server):
    unread = [server.stream() for _ in range(3)]
    with pytest.raises(QueueFull, match="MAX_WAITING_MB"):
        server.stream()
    # Its client has its room, no more; what is generated then is sent, and the next is refused.
    unread.append(server.stream(seed=8))
    with pytest.raises(QueueFull):
        server.stream(seed=9)
    assert server.room_of(BOB) == 1, "the quarter of the others"
    del unread[:2]
    server.stream(seed=9)
    server.stream(BOB, seed=10)


def test_a_result_is_counted_beyond_its_updates_until_there_is_an_answer(server):
    held = []
    environ = {BODY_KEY: SimpleNamespace(add=held.append)}
    server.pending().result(environ)
    assert (sum(held), server.room_of(ANN)) == (run.SENT_COPIES * len(FILE), 3)
