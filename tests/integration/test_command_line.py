"""The command line with a real server, and `generate` with a server of its own: files, bars, Ctrl+C."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest
from PIL import Image

from imageserver.cli import main
from imageserver.cli.client.connection import ServerConnection
from imageserver.cli.client.readiness import wait_until_loaded
from imageserver.cli.terminal.progress import ProgressBar
from tests.support.paths import ROOT

COMMAND = [sys.executable, str(ROOT / "qwen_image_server.py")]
SMALL = ["--size", "64x64", "--steps", "3"]


@pytest.fixture
def json_of(fake_server, capsys):
    """Run a command with the shared server, and return the JSON that it prints."""

    def run(*arguments, status=0):
        assert main.run([*arguments, "--url", fake_server.url, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def test_images_of_a_running_server_are_written_with_numbers(json_of, tmp_path):
    told = json_of("generate", "two circles", "-o", str(tmp_path / "new" / "x.webp"), "-n", "2", "--seed", "5", *SMALL)
    files = [str(tmp_path / "new" / f"x-{number}.webp") for number in (1, 2)]
    assert (told["files"], told["seeds"], told["model"], told["width"]) == (files, [5, 6], "fake", 64)
    for file in files:
        with Image.open(file) as image:
            assert (image.format, image.size) == ("WEBP", (64, 64))


def test_a_prompt_from_stdin_and_an_image_from_a_file_reach_the_server(json_of, fake_server, tmp_path, monkeypatch):
    source, target = tmp_path / "red.png", tmp_path / "x.png"
    Image.new("RGB", (64, 64), "red").save(source)
    reader, writer = os.pipe()
    os.write(writer, "from stdin, 来自\n".encode())
    os.close(writer)
    with os.fdopen(reader) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        json_of("generate", "-", "--image", str(source), "-o", str(target), "--no-overlay", *SMALL)
    with Image.open(target) as image:
        # The fake engine edits by changing nothing.
        assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert fake_server.job_with("from stdin, 来自")["state"] == "completed"


def test_a_refusal_is_the_servers_sentence_and_its_code(json_of, tmp_path):
    told = json_of("generate", "x", "--steps", "1000", "-o", str(tmp_path / "x.png"), status=1)
    assert told["code"] == "invalid_parameter"
    assert "MAX_STEPS" in told["error"]
    assert not list(tmp_path.iterdir())


def test_the_state_the_models_and_the_loras_of_a_server_are_shown(json_of, fake_server, capsys):
    assert json_of("status")["status"] == "healthy"
    assert "demo" in [model["id"] for model in json_of("models", "list")["data"]]
    assert json_of("models", "pull", "demo")["state"] == "completed"
    names = [lora["id"] for lora in json_of("loras", "list")["data"]]
    assert json_of("loras", "load", names[0])["loaded"] is True
    assert json_of("loras", "unload", names[0])["loaded"] is False
    assert main.run(["status", "--url", fake_server.url]) == 0
    assert capsys.readouterr().out.startswith(f"healthy  {fake_server.url}, version ")


def test_a_job_is_listed_and_cancelled(json_of, fake_server):
    waiting = fake_server.start_generating("[step=0.2] to be cancelled", num_inference_steps=50)
    fake_server.wait_for(lambda: fake_server.job_with("to be cancelled")["state"] == "processing", "the job")
    [job] = [job for job in json_of("jobs", "list", "--state", "processing")["data"] if "cancelled" in job["prompt"]]
    assert json_of("jobs", "cancel", str(job["id"]))["id"] == job["id"]
    assert not waiting.result(20).ok
    assert json_of("jobs", "cancel", "123456789", status=1)["code"] == "not_found"


def test_ctrl_c_cancels_what_the_server_works_on(fake_server, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "generate", "[step=0.2] given up", "--steps", "50", "--url", fake_server.url],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Tests that run in the background inherit that Ctrl+C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    fake_server.wait_for(lambda: fake_server.job_with("given up")["state"] == "processing", "the job")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    fake_server.wait_for(lambda: fake_server.job_with("given up")["state"] == "cancelled", "the end of the job")


def on_a_terminal(arguments, folder):
    """Run a command whose standard error is a terminal; return its status and what the terminal got."""
    terminal, other_side = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    environment = os.environ | {"MODEL": "demo", "OFFLINE": "1", "ENGINE_MODULE": "tests.support.fake_engine"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=other_side
    )
    os.close(other_side)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 2**16)
        except OSError:  # the other side is closed
            break
    os.close(terminal)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output, shown.decode()


def test_without_a_server_the_bar_and_the_log_stay_apart_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    arguments = ["generate", "[step=0.1] alone", "--size", "64x64", "--steps", "8", "-o", str(tmp_path / "x.png")]
    status, output, shown = on_a_terminal(arguments, tmp_path)
    assert status == 0, shown
    assert json.loads(output)["model"] == "fake"
    assert re.search(r"generating.*\b[1-8]/8", shown), shown
    # A line of the log begins where the bar was removed, and ends before it is shown again.
    [line] = [line for line in re.split(r"[\r\n]", shown) if "Generated 1 x 64x64" in line]
    assert re.fullmatch(r"(\x1b\[A|\x1b\[K)*\d\d:\d\d:\d\d INFO .*in the queue\.", line.strip()), line
    assert folders_of_commands(tmp_path) == []
    assert (tmp_path / "x.png").exists()


def test_the_server_of_a_command_that_was_killed_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    environment = os.environ | {"MODEL": "demo", "OFFLINE": "1", "ENGINE_MODULE": "tests.support.fake_engine"}
    server = subprocess.Popen(
        [sys.executable, "-m", "imageserver.cli.own_server"], cwd=ROOT, env=environment, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    server.stdin.write("a-key-of-the-test\n")
    connection = ServerConnection(f"http://127.0.0.1:{server.stdout.readline().strip()}", "a-key-of-the-test")
    wait_until_loaded(connection, ProgressBar(unit="%"))
    assert len(folders_of_commands(tmp_path)) == 1
    # The system closes the pipe of a command that it kills.
    server.communicate(timeout=30)
    assert folders_of_commands(tmp_path) == []


def folders_of_commands(temporary):
    return list(temporary.glob("qwen-image-server-*/command-*"))
