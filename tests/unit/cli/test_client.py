"""What the commands say of a server's answers, and how a generation survives a broken connection."""

import json

import pytest

from imageserver.cli.client import task
from imageserver.cli.client.connection import NoAnswer, ServerConnection
from imageserver.cli.client.key import read_key
from imageserver.cli.client.model_load import load_model
from imageserver.cli.client.task import GenerationTask
from imageserver.cli.failure import CommandFailed
from imageserver.cli.terminal.progress import ProgressBar
from tests.support.scripted_http import scripted_server

KEY = "a-secret-of-the-test"


@pytest.fixture
def server():
    with scripted_server() as scripted:
        yield scripted


def refusal(server, *, key=""):
    with pytest.raises(CommandFailed) as failed:
        ServerConnection(server.url, key).ask("GET", "/x")
    return failed.value


def test_the_servers_own_sentence_and_code_are_passed_on(server):
    server.answers["GET /x"] = (429, {"error": "The queue is full.", "code": "queue_full"})
    assert (refusal(server).sentence, refusal(server).code) == ("The queue is full.", "queue_full")
    server.answers["GET /x"] = (404, {"error": {"message": "No such model.", "code": "model_not_found"}})
    assert (refusal(server).sentence, refusal(server).code) == ("No such model.", "model_not_found")


def test_a_missing_key_is_explained_and_a_wrong_one_is_not_shown(server):
    server.answers["GET /x"] = (401, {"error": "This server requires a key.", "code": "unauthorized"})
    failed = refusal(server, key=KEY)
    assert failed.sentence == "This server requires a key. Name a key with --key-file or QIS_API_KEY."
    assert server.requests[0].key == f"Bearer {KEY}"


def test_another_kind_of_server_is_recognised(server):
    server.answers["GET /x"] = (200, b"<html>")
    assert refusal(server).sentence == f"{server.url} answered 200 and no JSON: it is not this server's address."


@pytest.mark.parametrize("url", ["localhost:5000", "ftp://x", "http://"])
def test_an_address_without_a_host_is_wrong_usage(url):
    with pytest.raises(CommandFailed) as failed:
        ServerConnection(url, "")
    assert failed.value.status == 2


def test_a_key_comes_from_a_file_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("QIS_API_KEY", KEY)
    assert read_key(None) == KEY
    file = tmp_path / "key"
    file.write_text("another-one\n")
    assert read_key(file) == "another-one"


@pytest.mark.parametrize("content", [b"", b"two words", "schl\xfcssel".encode("latin-1"), None])
def test_a_file_without_a_key_is_a_sentence_that_does_not_show_it(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandFailed) as failed:
        read_key(file)
    assert failed.value.sentence.startswith(f"--key-file {file} ")
    assert "two words" not in failed.value.sentence


STATUS = {"requestId": 7, "completed_at": None, "status": "queued", "error": None, "code": None, "warnings": []}
DONE = STATUS | {"status": "completed", "completed_at": "now", "result_urls": ["http://elsewhere/images/a.png"]}
JOB = {"state": "processing", "step": 2, "total_steps": 4, "model": ""}


def generate(server, **options):
    with ProgressBar(unit="step", quiet=True) as bar:
        return GenerationTask(ServerConnection(server.url, KEY), {"prompt": "x"}, **options).result(bar)


def script_a_task(server, *statuses):
    waiting = iter(statuses)
    server.answers |= {
        "PUT /v1/tasks/": (200, STATUS), "GET /v1/tasks/": lambda asked: next(waiting),
        "GET /v1/jobs/7/events": (200, f"id: 1\nevent: x\ndata: {json.dumps(JOB)}\n\n".encode()),
        "GET /v1/jobs/7": (200, JOB), "GET /health": (200, {"pipeline_ready": True}),
        "GET /images/a.png": (200, b"a file"),
    }  # fmt: skip


def test_a_task_is_followed_to_its_files_which_are_fetched_from_the_address_that_was_named(server):
    script_a_task(server, (200, STATUS), (200, DONE))
    images = generate(server)
    assert images.files == [b"a file"]
    assert server.requests[1].body == {"prompt": "x"}
    assert {asked.key for asked in server.requests} == {f"Bearer {KEY}"}


def test_a_task_that_fails_is_the_servers_sentence(server):
    ended = {"status": "failed", "completed_at": "now", "error": "No memory.", "code": "oom"}
    script_a_task(server, (200, STATUS | ended))
    with pytest.raises(CommandFailed) as failed:
        generate(server)
    assert (failed.value.sentence, failed.value.code) == ("No memory.", "oom")


def test_a_server_that_cannot_load_its_model_says_why_instead_of_letting_the_task_wait(server):
    loading = {"pipeline_ready": False, "status": "loading", "reason": "", "load_fraction": 0.5}
    answers = iter([loading, loading | {"status": "degraded", "reason": "The model is gone."}])
    server.answers["GET /health"] = lambda asked: (200, next(answers))
    with pytest.raises(CommandFailed, match="The model is gone"):
        generate(server)
    assert {asked.method for asked in server.requests} == {"GET"}


def test_a_stream_that_breaks_is_taken_up_again(server):
    script_a_task(server, (200, DONE))
    streams = iter([b"data: {", b"data: {}\n\n"])
    server.answers["GET /v1/jobs/7/events"] = lambda asked: (200, next(streams, b""))
    assert generate(server).files == [b"a file"]


@pytest.mark.parametrize("prefix", ["", "/qwen", "/images"])
def test_images_are_fetched_once_through_the_folder_of_a_proxy(server, prefix):
    server.answers[f"GET {prefix}/images/a.png"] = (200, b"a file")
    address = f"https://host{prefix}/images/a.png?signature=x"
    assert ServerConnection(f"{server.url}{prefix}", KEY).download(address) == b"a file"
    assert server.requests[0].path == f"{prefix}/images/a.png?signature=x"


def test_a_proxy_whose_server_is_gone_for_a_moment_loses_no_task(server):
    script_a_task(
        server, (502, b"<html>"), (503, {"error": "The server is stopping.", "code": "draining"}), (200, DONE)
    )
    starts = iter([(504, b""), (200, STATUS)])
    server.answers["PUT /v1/tasks/"] = lambda asked: next(starts)
    files = iter([(502, b"<html>"), (200, b"a file")])
    server.answers["GET /images/a.png"] = lambda asked: next(files)
    assert generate(server).files == [b"a file"]


def test_images_are_there_also_where_a_restart_has_forgotten_the_job(server):
    script_a_task(server, (200, DONE))
    del server.answers["GET /v1/jobs/7"]
    images = generate(server)
    assert (images.files, images.job) == ([b"a file"], {})


def test_a_server_that_is_stopping_says_so_itself(server):
    server.answers["GET /x"] = (503, {"error": "The server is stopping.", "code": "draining"})
    failed = refusal(server)
    assert isinstance(failed, NoAnswer)
    assert (failed.sentence, failed.code) == ("The server is stopping.", "draining")


def test_a_stream_that_ends_with_an_error_is_the_servers_sentence(server):
    frames = b'event: error\ndata: {"error": "It is gone.", "code": "not_found"}\n\n'
    server.answers |= {"POST /v1/models/load": (202, {"job": 3}), "GET /v1/jobs/3/events": (200, frames)}
    with pytest.raises(CommandFailed, match="It is gone"):
        load_model(ServerConnection(server.url, ""), "large")


def test_a_server_that_stays_away_ends_the_wait(server, monkeypatch):
    script_a_task(server)
    server.answers["GET /v1/jobs/7/events"] = (200, b"data: {")
    monkeypatch.setattr(task, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(NoAnswer):
        generate(server)


def test_ctrl_c_cancels_the_task_on_the_server(server, monkeypatch):
    script_a_task(server)
    monkeypatch.setattr(GenerationTask, "_ended", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generate(server)
    assert [asked.method for asked in server.requests] == ["GET", "PUT", "DELETE"]
    assert server.requests[1].path == server.requests[2].path


def test_a_model_that_a_server_cannot_load_is_its_sentence(server):
    server.answers |= {
        "POST /v1/models/load": (202, {"job": 3}),
        "GET /v1/jobs/3/events": (200, b'data: {"step": 1, "total_steps": 2}\n\n'),
        "GET /v1/jobs/3": (200, {"state": "failed", "error": "It is too large.", "code": "model_unloadable"}),
    }
    with pytest.raises(CommandFailed, match="It is too large"):
        load_model(ServerConnection(server.url, ""), "large")
    assert server.requests[0].body == {"model": "large", "default": False, "wait": False}
