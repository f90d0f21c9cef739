"""The scripts that people run against a server: what they say, what they save, and how they end."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import flask
import pytest
from PIL import Image
from werkzeug.serving import make_server

ROOT = Path(__file__).resolve().parents[2]
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
    assert "not like this server" in outcome.stderr


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
    assert "6 of 6 checks passed." in outcome.stdout


def test_client_checks_a_real_server_and_keeps_its_pictures(demo_server, tmp_path):
    folder = tmp_path / "new folder"
    outcome = run("test_client.py", "--url", demo_server.url, "--prompt", "a yellow star", "--output-dir", folder)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "5 of 5 checks passed." in outcome.stdout
    for name in ("test_client.png", "test_client_zh.png"):
        with Image.open(folder / name) as picture:
            picture.load()
            assert picture.size == (512, 512)


def test_comparison_of_a_real_server_has_a_table_and_a_chart(demo_server, tmp_path):
    chart = tmp_path / "comparison.png"
    outcome = run(
        "test_concurrent.py", "--url", demo_server.url, "--requests", "3", "--steps", "2", "--chart", chart
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    for word in ("sequential", "concurrent", "wall time", "images/s", "p50", "p95", "speed-up"):
        assert word in outcome.stdout
    with Image.open(chart) as picture:
        assert picture.width > 500


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
