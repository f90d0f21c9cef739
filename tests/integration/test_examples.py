"""The examples that need more than Python and curl run against a real server."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from types import ModuleType

import django
import pytest
from django.conf import settings
from django.test import Client
from django.urls import path
from PIL import Image
from urllib3.response import HTTPResponse
from urllib3.util import Retry

from tests.support.images import opened, pixels
from tests.support.paths import ROOT
from tests.support.scripted_http import scripted_server

NODE = ROOT / "examples" / "node"


def django_views() -> ModuleType:
    found = importlib.util.spec_from_file_location("views", ROOT / "examples" / "django" / "views.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def website():
    """A Django site with the example's view."""
    settings.configure(ALLOWED_HOSTS=["testserver"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", USE_TZ=True)
    django.setup()
    globals()["urlpatterns"] = [path("images/", django_views().image)]
    return Client()


@pytest.fixture
def server_of_website(fake_server):
    settings.IMAGE_SERVER_URL = fake_server.url
    settings.IMAGE_SERVER_TIMEOUT = 30
    return fake_server


@pytest.mark.usefixtures("server_of_website")
def test_the_django_view_answers_an_image(website):
    answer = website.post("/images/", {"prompt": "a red circle"})
    assert answer.status_code == 200
    assert int(answer["X-Seed"]) >= 0
    assert opened(answer.content).size == (512, 512)


def test_the_django_view_waits_once_for_an_answer_that_takes_too_long(website):
    over = threading.Event()
    with scripted_server() as slow:
        slow.answers["POST /generate"] = lambda asked: (200, b"late") if over.wait(20) else (500, b"")
        settings.IMAGE_SERVER_URL, settings.IMAGE_SERVER_TIMEOUT = slow.url, 0.2
        try:
            answer = website.post("/images/", {"prompt": "a red circle"})
        finally:
            over.set()
    assert (answer.status_code, answer.json()["error"]) == (504, "The image took too long; try a smaller one.")
    assert len(slow.requests) == 1


@pytest.mark.usefixtures("server_of_website")
def test_the_django_view_passes_the_servers_own_sentence_on(website):
    assert website.post("/images/", {"prompt": " "}).json() == {"error": "Enter a prompt.", "field": "prompt"}
    answer = website.post("/images/", {"prompt": "x", "aspect_ratio": "7:1"})
    assert (answer.status_code, answer.json()["field"]) == (400, "aspect_ratio")
    answer = website.post("/images/", {"prompt": "[fail]"})
    assert (answer.status_code, answer.json()["field"]) == (500, None)


def test_the_django_view_asks_a_full_server_again(website, own_servers):
    server = own_servers(MAX_QUEUE="1")
    settings.IMAGE_SERVER_URL = server.url
    settings.IMAGE_SERVER_TIMEOUT = 30
    busy = server.start_generating("[step=0.05]")
    server.wait_until_active()
    assert website.post("/images/", {"prompt": "patient"}).status_code == 200
    assert busy.result(30).ok


@pytest.mark.parametrize(("told", "obeyed"), [("30", 30), ("3600", None)])
def test_the_django_view_does_not_sleep_for_as_long_as_a_download(told, obeyed):
    assert django_views().RETRY.get_retry_after(HTTPResponse(status=503, headers={"Retry-After": told})) == obeyed


def test_the_django_view_says_so_when_there_is_no_server(website, monkeypatch):
    # It asks five times, which would take seven seconds.
    monkeypatch.setattr(Retry, "sleep", lambda retry, response=None: None)
    settings.IMAGE_SERVER_URL = "http://127.0.0.1:9"
    answer = website.post("/images/", {"prompt": "x"})
    assert (answer.status_code, answer.json()["error"]) == (502, "The image server cannot be reached.")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_node_example_generates_streams_edits_and_is_refused(fake_server, tmp_path):
    assert (NODE / "node_modules" / "openai").is_dir(), "run_tests.sh installs the SDK with npm"
    shutil.copy(NODE / "generate.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    outcome = subprocess.run(
        ["node", "generate.mjs", "--url", fake_server.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"NO_PROXY": "*"},
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines() == [
        "generated 512x512",
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
        "edited 512x512",
        "answered edit",
        "refused 400 prompt",
    ]
    for name in ("circle.png", "partial_0.png", "partial_1.png", "star.png", "edited.png", "answered.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (512, 512)


def run_example(command, name, url, folder):
    """Run one of the examples in a folder."""
    return subprocess.run(
        [*command, ROOT / "examples" / name, "--url", url], cwd=folder, capture_output=True, text=True, timeout=60,
        env=os.environ | {"NO_PROXY": "*"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["bash"], "curl.sh"), ([sys.executable], "python_requests.py"), ([sys.executable], "openai_stream.py"),
        ([sys.executable], "openai_responses.py"), ([sys.executable], "websocket_generate.py"),
        (["node"], "node/generate.mjs"),
    ],
)  # fmt: skip
def test_an_example_without_a_server_says_one_sentence(tmp_path, command, name):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    outcome = run_example(command, name, "http://127.0.0.1:9", tmp_path)
    assert outcome.stderr == "No server answers at http://127.0.0.1:9; start one with: bash start_server.sh\n"
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "written"),
    [("curl.sh", "circle.png"), ("python_requests.py", "star.png"), ("openai_stream.py", "edited.png"),
     ("websocket_generate.py", "circle.png")],
)  # fmt: skip
def test_an_example_works_with_the_server_that_it_is_given(fake_server, tmp_path, name, written):
    outcome = run_example(["bash"] if name == "curl.sh" else [sys.executable], name, fake_server.url, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / written).stat().st_size > 0


def test_the_example_of_a_conversation_edits_its_first_image(fake_server, tmp_path):
    outcome = run_example([sys.executable], "openai_responses.py", fake_server.url, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert [line.split()[:2] for line in outcome.stdout.splitlines()] == [
        ["first.png", "generate"],
        ["second.png", "edit"],
    ]
    first, second = ((tmp_path / name).read_bytes() for name in ("first.png", "second.png"))
    # The fake engine edits by changing nothing.
    assert (pixels(first) == pixels(second)).all()
