"""A generation is one tree of spans, with the times of all three processes."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from imageserver.generation import Outcome, StageSeconds
from imageserver.protocol.messages import Progress, Queued, Started
from imageserver.telemetry.tracing import generation_trace
from imageserver.telemetry.tracing.tracing import MAX_PROMPT_CHARACTERS, Tracing
from tests.support.factories import generation

OUTCOME = Outcome(
    width=64, height=64, seeds=(1,), inference_time=4.0, queue_time=3.0, batch_size=2,
    stage_seconds=StageSeconds(text=1.0, denoise=2.5, decode=0.5),
)  # fmt: skip
ROUTE = {"http.request.method": "POST", "http.route": "/generate"}


class Timeline:
    """One generation on a clock that the test moves, and its spans as (name, begin, end)."""

    def __init__(self, *, prompts=True, prompt="a red circle", headers=None, attributes=ROUTE):
        self.now = 100.0
        self._exporter = InMemorySpanExporter()
        tracing = Tracing(SimpleSpanProcessor(self._exporter), prompts=prompts)
        self.begin = lambda: tracing.begin(generation(prompt), 99.0, headers or {}, attributes)

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + 1e6

    def at(self, moment):
        self.now = moment

    @property
    def spans(self):
        return self._exporter.get_finished_spans()

    @property
    def root(self):
        return self.spans[-1]

    @property
    def times(self):
        return {
            span.name: (round(span.start_time / 1e9 - 1e6, 3), round(span.end_time / 1e9 - 1e6, 3))
            for span in self.spans
        }


@pytest.fixture
def timeline(monkeypatch):
    def begin(**changes):
        line = Timeline(**changes)
        monkeypatch.setattr(generation_trace, "time", line)
        return line, line.begin()

    return begin


def run_steps(line, trace, steps, begin):
    for step in range(1, steps + 1):
        line.at(begin + 0.1 * step)
        trace.observe(Progress(job=1, step=step, total=25))


def test_queue_text_steps_in_tens_decoding_and_encoding_are_below_the_request(timeline):
    line, trace = timeline()
    trace.observe(Queued(job=1, own=1.0, wait=1.0, position=1))
    line.at(103.0)
    trace.observe(Started(job=1, device="cuda:1"))
    run_steps(line, trace, 25, begin=104.0)
    line.at(107.25)
    trace.record_encoding(0.25)
    trace.record_images(OUTCOME, "miss")
    trace.end("completed", "", {"image.model": "demo"})
    assert line.times == {
        "queue": (100.0, 103.0),
        "text": (103.0, 104.0),
        "steps 1-10": (104.0, 105.0),
        "steps 11-20": (105.0, 106.0),
        "steps 21-25": (106.0, 106.5),
        "decode": (106.5, 107.0),
        "encode": (107.0, 107.25),
        "POST /generate": (99.0, 107.25),
    }
    *stages, root = line.spans
    assert {span.parent.span_id for span in stages} == {root.context.span_id}
    assert {span.context.trace_id for span in line.spans} == {int(trace.trace_id, 16)}
    assert {span.name.split()[0]: span.attributes["process"] for span in stages} == {
        "queue": "dispatcher", "text": "engine", "steps": "engine", "decode": "engine", "encode": "worker",
    }  # fmt: skip
    assert root.kind == SpanKind.SERVER
    assert root.attributes.items() >= {
        "outcome": "completed", "cache": "miss", "device": "cuda:1", "batch_size": 2, "image.model": "demo", **ROUTE,
    }.items()  # fmt: skip


def test_a_generation_that_runs_again_after_its_engine_died_shows_its_last_run(timeline):
    line, trace = timeline()
    trace.observe(Started(job=1))
    run_steps(line, trace, 12, begin=101.0)
    line.at(110.0)
    trace.observe(Started(job=1))
    run_steps(line, trace, 10, begin=110.0)
    trace.end("cancelled", "", {})
    assert line.times["steps 1-10"] == (110.0, 111.0)
    assert line.times["queue"] == (100.0, 110.0)


@pytest.mark.parametrize(("outcome", "error"), [("failed", "out_of_memory"), ("cancelled", "")])
def test_one_that_ends_in_the_queue_says_how(timeline, outcome, error):
    line, trace = timeline()
    line.at(105.0)
    trace.end(outcome, error, {})
    assert line.times == {"queue": (100.0, 105.0), "POST /generate": (99.0, 105.0)}
    assert line.root.status.is_ok is not bool(error)
    assert (line.root.attributes["outcome"], line.root.attributes.get("error.type", "")) == (outcome, error)


def test_images_from_the_cache_are_one_span(timeline):
    line, trace = timeline()
    trace.record_images(OUTCOME, "hit")
    trace.end("completed", "", {})
    assert [span.name for span in line.spans] == ["POST /generate"]
    assert line.root.attributes["cache"] == "hit"


def test_a_task_that_was_adopted_has_no_route(timeline):
    line, trace = timeline(attributes={})
    trace.end("cancelled", "", {})
    assert (line.root.name, line.root.kind) == ("generation", SpanKind.INTERNAL)


def test_a_prompt_is_there_only_where_it_may_be_logged_and_not_all_of_it(timeline):
    prompts = []
    for allowed in (True, False):
        line, trace = timeline(prompts=allowed, prompt="x" * 10_000)
        trace.end("cancelled", "", {})
        prompts.append(line.root.attributes.get("image.prompt"))
    assert prompts == ["x" * MAX_PROMPT_CHARACTERS, None]


def test_a_client_decides_that_its_request_is_not_sampled(timeline):
    line, trace = timeline(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    trace.end("cancelled", "", {})
    assert line.spans == ()
    assert trace.trace_id == "a" * 32


@pytest.mark.parametrize("header", ["", "00-0-0-01", f"00-{'0' * 32}-{'b' * 16}-01", "ff" * 5000])
def test_a_header_that_makes_no_sense_is_a_trace_of_its_own(timeline, header):
    line, trace = timeline(headers={"traceparent": header})
    trace.end("cancelled", "", {})
    assert line.root.parent is None
