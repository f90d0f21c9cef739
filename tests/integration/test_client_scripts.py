"""The scripts that people run against a server: what they say, what they save, and how they end."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading

import flask
import pytest
from PIL import Image, ImageChops
from werkzeug.serving import make_server

import test_client
import test_concurrent
from tests.support.paths import ROOT

SCRIPTS = ["test_client.py", "test_connectivity.py", "test_concurrent.py"]


def run(script, *arguments):
    """Run one of the scripts to its end."""
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"http_proxy": "http://127.0.0.1:9"}, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


@pytest.fixture
def stand_in():
    """Serve a Flask app that a test fills with answers; yields the app, whose `url` is in its config."""
    app = flask.Flask("stand-in")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    app.config["url"] = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield app
    server.shutdown()
    thread.join()
    server.server_close()


def answer(app, method, path, view):
    """Let the stand-in answer one address."""
    app.add_url_rule(path, endpoint=path, view_func=view, methods=[method])


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_a_server_there_is_one_sentence_and_a_failure(script):
    outcome = run(script, "--url", "http://127.0.0.1:9")
    assert outcome.returncode == 1
    assert outcome.stderr == "No server answers at http://127.0.0.1:9; start one with: bash start_server.sh\n"
    assert outcome.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_server_that_never_becomes_ready_is_one_sentence_with_its_reason(script, stand_in):
    answer(stand_in, "GET", "/readyz", lambda: ({"status": "loading"}, 503))
    answer(stand_in, "GET", "/health", lambda: {"status": "loading", "reason": "The weights are being read."})
    outcome = run(script, "--url", stand_in.config["url"], "--wait", "0.7")
    assert outcome.returncode == 1
    assert "waiting up to" in outcome.stdout
    assert outcome.stderr.endswith("is not ready after 0.7 s: The weights are being read.\n")
    assert len(outcome.stderr.splitlines()) == 1


def test_another_kind_of_server_is_recognised(stand_in):
    outcome = run("test_client.py", "--url", stand_in.config["url"])
    assert outcome.returncode == 1
    assert "is not a qwen-image-server" in outcome.stderr


def test_failed_checks_are_named_with_the_servers_own_words(stand_in, tmp_path):
    answer(stand_in, "GET", "/readyz", lambda: {"status": "healthy"})
    answer(stand_in, "GET", "/health", lambda: {"status": "healthy", "model_loaded": True, "gpu": "CPU"})
    answer(stand_in, "GET", "/info", lambda: "no JSON")
    answer(stand_in, "POST", "/generate", lambda: ({"error": "The queue is full.", "code": "queue_full"}, 429))
    outcome = run("test_client.py", "--url", stand_in.config["url"], "--output-dir", tmp_path)
    assert outcome.returncode == 1
    assert "1 of 5 checks passed." in outcome.stdout
    assert "/generate answered 429: The queue is full." in outcome.stdout
    assert "Traceback" not in outcome.stderr


def test_failed_requests_make_the_comparison_fail_and_say_why(stand_in):
    answers = iter([(b"\x89PNG\r\n\x1a\n" + bytes(16), 200)])
    answer(stand_in, "GET", "/readyz", lambda: {"status": "healthy"})
    answer(stand_in, "POST", "/generate", lambda: next(answers, ({"error": "The queue is full."}, 429)))
    outcome = run("test_concurrent.py", "--url", stand_in.config["url"], "--requests", "2")
    assert outcome.returncode == 1
    assert outcome.stderr == "/generate answered 429: The queue is full.\n"


def test_connectivity_says_what_a_real_server_offers(demo_server):
    outcome = run("test_connectivity.py", "--url", demo_server.url)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "8 of 8 checks passed." in outcome.stdout
    assert "2 images" in outcome.stdout
    assert "\x1b" not in outcome.stdout


def test_client_checks_a_real_server_and_keeps_its_images(demo_server, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    folder = tmp_path / f"new {'long-' * 20}folder"
    outcome = run("test_client.py", "--url", demo_server.url, "--prompt", "a yellow star", "--output-dir", folder)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "5 of 5 checks passed." in outcome.stdout
    for name in ("test_client.png", "test_client_zh.png"):
        # Whole, so that it can be copied.
        assert f"  {folder / name}, seed" in outcome.stdout
        with Image.open(folder / name) as image:
            image.load()
            assert image.size == (512, 512)


def test_all_checks_of_the_client_pass_and_keep_what_they_saw(demo_server, tmp_path):
    outcome = run("test_client.py", "--url", demo_server.url, "--all", "--save-intermediates", "--output-dir", tmp_path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "9 of 9 checks passed." in outcome.stdout
    assert "9 previews, the first image after" in outcome.stdout
    names = {f"test_client{name}.png" for name in ("", "_zh", "_streamed", "_not_streamed")}
    names |= {f"test_client_step_{step:03}.jpg" for step in range(1, 19, 2)}
    assert {file.name for file in tmp_path.iterdir()} == names
    for name in names:
        with Image.open(tmp_path / name) as image:
            image.load()
            assert image.size == (512, 512)
    streamed, at_once = (Image.open(tmp_path / f"test_client_{name}.png") for name in ("streamed", "not_streamed"))
    with streamed, at_once:
        assert ImageChops.difference(streamed, at_once).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize(
    ("options", "checks"),
    [
        (["--test-non-streaming"], ["not streamed"]),
        (["--test-streaming"], ["streamed", "streams at once"]),
        (["--save-intermediates"], ["streamed", "streams at once"]),
        (["--test-streaming", "--test-non-streaming"], ["not streamed", "streamed", "streams at once"]),
    ],
)
def test_the_client_checks_what_it_is_told_to_and_nothing_else(demo_server, tmp_path, options, checks):
    outcome = run("test_client.py", "--url", demo_server.url, "--output-dir", tmp_path, *options)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    *lines, summary = outcome.stdout.splitlines()
    assert [line[:20].strip() for line in lines] == checks
    assert summary == f"{len(checks)} of {len(checks)} checks passed."
    assert any(file.suffix == ".jpg" for file in tmp_path.iterdir()) == ("--save-intermediates" in options)


FRAME = {
    "step": 0, "total_steps": 1, "progress": 1.0, "image": "", "timestamp": 0.0, "is_final": True, "is_chunked": False,
    "chunk_id": None, "chunk_index": None, "total_chunks": None, "image_index": 0, "total_images": 1, "seed": 7,
}  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([FRAME], "The stream ended without its [DONE]."),
        (["no JSON"], "The stream broke off: JSONDecodeError"),
        ([{"error": "The model is gone.", "timestamp": 0.0}], "The stream failed: The model is gone."),
        ([{"step": 1}], "A frame lacks chunk_id, chunk_index"),
        ([FRAME | {"image": "??"}, "[DONE]"], "An image in the answer is not valid base64."),
        (
            [FRAME | {"is_chunked": True, "chunk_id": "a", "chunk_index": 0, "total_chunks": 2}, "[DONE]"],
            "The stream ended before all chunks arrived.",
        ),
        ([FRAME, "[DONE]"], "The answer is not a PNG image."),
        (["[DONE]"], "The answer is not a PNG image."),
    ],
)
def test_a_stream_that_is_not_as_it_should_be_fails_with_a_sentence(stand_in, tmp_path, frames, sentence):
    texts = [frame if isinstance(frame, str) else json.dumps(frame) for frame in frames]
    body = "".join(f"data: {text}\n\n" for text in texts)
    answer(stand_in, "GET", "/readyz", lambda: {"status": "healthy"})
    answer(stand_in, "POST", "/v1/images/generations", lambda: flask.Response(body, mimetype="text/event-stream"))
    outcome = run("test_client.py", "--url", stand_in.config["url"], "--test-streaming", "--output-dir", tmp_path)
    assert outcome.returncode == 1
    assert sentence in outcome.stdout
    assert "Traceback" not in outcome.stderr


def test_comparison_of_a_real_server_has_a_table_and_a_chart(demo_server, tmp_path):
    chart = tmp_path / "comparison.png"
    outcome = run(
        "test_concurrent.py", "--url", demo_server.url, "--requests", "3", "--steps", "2", "--chart", chart
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    for word in ("sequential", "concurrent", "wall time", "images/s", "p50", "p95", "speed-up"):
        assert word in outcome.stdout
    with Image.open(chart) as image:
        assert image.width > 500


@pytest.fixture
def without_matplotlib(monkeypatch):
    """A fresh install, where somebody types `answer`; pip is not run, and its commands are returned."""
    commands = []

    def type_in(answer, *, is_terminal=True):
        typed = io.StringIO(answer)
        typed.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        ended = subprocess.CompletedProcess([], 0)
        monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command) or ended)
        return commands

    return type_in


def test_a_chart_asks_before_it_installs_what_it_needs(without_matplotlib):
    commands = without_matplotlib("y\n")
    test_concurrent.require_matplotlib()
    assert commands[0][1:4] == ["-m", "pip", "install"]


@pytest.mark.parametrize(("is_terminal", "sentence"), [(True, "Nothing was installed"), (False, "to install it:")])
def test_without_a_yes_nothing_is_installed_or_measured(without_matplotlib, capsys, is_terminal, sentence):
    commands = without_matplotlib("\n", is_terminal=is_terminal)
    assert test_concurrent.main(["--chart", "x.png", "--url", "http://127.0.0.1:9"]) == 1
    assert sentence in capsys.readouterr().err
    assert commands == []


def test_ticks_and_colours_are_for_terminals_and_colours_can_be_turned_off(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert test_client.marked("ok", passed=True) == "ok    "
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert test_client.marked("ok", passed=True) == "\x1b[32m\N{CHECK MARK} ok    \x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert test_client.marked("FAILED", passed=False) == "\N{BALLOT X} FAILED"


def test_the_comparison_has_ticks_and_colours_on_terminals_only(monkeypatch, capsys):
    def generate(seed):
        if seed == 2:
            raise test_client.CheckError("The queue is full.")
        return 0.1

    monkeypatch.delenv("NO_COLOR", raising=False)
    test_concurrent.measure("sequential", generate, [1, 2], 1)
    test_client.complain("It failed.")
    piped = capsys.readouterr()
    assert piped.out.startswith("sequential  .. ")
    assert "\x1b" not in piped.out
    assert piped.err == "It failed.\n"
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    test_concurrent.measure("sequential", generate, [1, 2], 1)
    test_client.complain("It failed.")
    shown = capsys.readouterr()
    assert shown.out.startswith("sequential  \x1b[32m\N{CHECK MARK}\x1b[0m\x1b[31m\N{BALLOT X}\x1b[0m ")
    assert shown.err == "\x1b[31m\N{BALLOT X} It failed.\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    test_concurrent.measure("sequential", generate, [1, 2], 1)
    assert capsys.readouterr().out.startswith("sequential  \N{CHECK MARK}\N{BALLOT X} ")


def test_every_request_of_the_comparison_has_its_own_seed(stand_in):
    seeds = []

    def generate():
        seeds.append(flask.request.get_json()["seed"])
        return b"\x89PNG\r\n\x1a\n" + bytes(16)

    answer(stand_in, "GET", "/readyz", lambda: {"status": "healthy"})
    answer(stand_in, "POST", "/generate", generate)
    outcome = run("test_concurrent.py", "--url", stand_in.config["url"], "--requests", "3", "--concurrency", "2")
    assert outcome.returncode == 0, outcome.stderr
    assert len(seeds) == len(set(seeds)) == 7
