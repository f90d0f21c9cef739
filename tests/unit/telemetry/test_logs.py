"""One event is one line, whatever is in it."""

import io
import json
import logging

import pytest

from imageserver.errors import InvalidParameter, QueueFull
from imageserver.settings import Settings
from imageserver.telemetry.error_line import log_error
from imageserver.telemetry.logs import configure_logging, current_request, current_trace

NASTY = {
    "newline": "a\nINFO forged",
    "carriage return": "a\r\nb",
    "ANSI": "\x1b[31mred\x1b[0m",
    "JSON": '"}\n{"level": "CRITICAL", "message": "forged"}',
    "line separators": "a\u2028b\u2029c\x85d",
    "NUL": "a\x00b",
    "lone surrogate": "a\ud800b",
    "emoji": "🐈",
}


@pytest.fixture(autouse=True)
def no_request():
    """Forget the request of a test before."""
    token = current_request.set(None)
    yield
    current_request.reset(token)


@pytest.fixture
def lines(monkeypatch):
    """Log in a format and return what was written, line by line."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")

    def log(log_format, work, **settings):
        monkeypatch.setattr("sys.stderr", stream)
        configure_logging(Settings(_env_file=None, log_format=log_format, **settings))
        work(logging.getLogger("imageserver.api.dialects.native"))
        stream.flush()
        return stream.buffer.getvalue().decode().splitlines()

    yield log
    root.handlers[:] = before
    root.setLevel(level)


def test_without_prompts_a_line_says_that_it_keeps_one_back(lines):
    def work(logger):
        logger.info("Generated.", extra={"prompt": "a secret", "seed": 5})

    [line] = lines("json", work)
    assert json.loads(line)["prompt"] == "a secret"
    [_, line] = lines("json", work, log_prompts=False)
    assert (json.loads(line)["prompt"], json.loads(line)["seed"]) == ("[redacted]", 5)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_without_prompts_an_error_does_not_quote_the_field_that_was_wrong(lines, log_format):
    def work(logger):
        log_error(logger, InvalidParameter("seed: input should be an integer (got 'a secret').", param="seed"))
        log_error(logger, QueueFull("The queue is full (64 requests)."))

    kept = lines(log_format, work)
    assert "a secret" in kept[0]
    refused, full = lines(log_format, work, log_prompts=False)[2:]
    assert "secret" not in refused
    assert "422 invalid_parameter: [redacted]" in refused
    assert "The queue is full (64 requests)." in full, "it says nothing of a client"


@pytest.mark.fault(29)
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_in_a_prompt_makes_a_second_line(lines, log_format, text):
    written = lines(log_format, lambda logger: logger.info("prompt: %s", text))
    assert len(written) == 1
    assert "\x1b" not in written[0]
    assert "\x00" not in written[0]


def test_json_lines_give_the_text_back_with_its_fields(lines):
    for text in NASTY.values():
        line = lines("json", lambda logger, text=text: logger.info("prompt: %s", text))[-1]
        event = json.loads(line)
        assert event["message"] == f"prompt: {text}"
        assert (event["level"], event["name"], event["request_id"]) == ("INFO", "imageserver.api.dialects.native", None)
        assert event["timestamp"].endswith("+00:00")


def test_fields_of_an_event_are_fields_of_the_line(lines):
    (line,) = lines("json", lambda logger: logger.info("done", extra={"seed": 5, "latency_ms": 1.5}))
    assert json.loads(line).items() >= {"seed": 5, "latency_ms": 1.5}.items()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_names_its_request(lines, log_format):
    token = current_request.set(17)
    try:
        (line,) = lines(log_format, lambda logger: logger.info("hello"))
    finally:
        current_request.reset(token)
    assert json.loads(line)["request_id"] == 17 if log_format == "json" else " req 17 " in line


def test_exception_is_one_json_line(lines):
    def fail(logger):
        try:
            raise RuntimeError("broken\nhere")
        except RuntimeError:
            logger.exception("It failed.")

    (line,) = lines("json", fail)
    assert "RuntimeError" in json.loads(line)["exc_info"]


def test_level_is_the_one_that_was_chosen(lines):
    assert lines("text", lambda logger: logger.debug("hidden")) == []


def test_a_line_of_a_request_that_is_traced_has_the_id_of_the_trace(lines):
    def work(logger):
        current_trace.set("4bf9")
        logger.info("traced")
        current_trace.set("")
        logger.info("not traced")

    traced, other = map(json.loads, lines("json", work))
    assert traced["trace_id"] == "4bf9"
    assert "trace_id" not in other


def test_a_process_that_can_open_its_log_file_no_more_goes_on_and_says_so(lines, tmp_path):
    (tmp_path / "file").write_text("where a folder was")
    written = lines("text", lambda logger: logger.info("serving"), log_file=tmp_path / "file" / "server.log")
    assert "LOG_FILE cannot be written" in written[0]
    assert written[1].endswith("serving")
