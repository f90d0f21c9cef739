"""How a command ends: its exit status, one sentence, and JSON where that was asked for."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from imageserver import __version__
from imageserver.cli import main
from imageserver.cli.failure import CommandFailed
from tests.support.paths import ROOT

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def command(monkeypatch):
    """Run a command that does this; return the exit status."""

    def run(action, **options):
        parser = SimpleNamespace(parse_args=lambda words: SimpleNamespace(run=action, **options))
        monkeypatch.setattr(main, "build_parser", lambda only: parser)
        return main.run(["something"])

    return run


def raising(error):
    def action(options):
        raise error

    return action


def test_a_failure_is_one_sentence_and_its_status(command, capsys):
    assert command(raising(CommandFailed("It is broken.", "broken"))) == 1
    assert capsys.readouterr() == ("", "It is broken.\n")


def test_a_failure_is_json_too_where_that_was_asked_for(command, capsys):
    assert command(raising(CommandFailed("It is broken.", "broken", status=2)), as_json=True) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"error": "It is broken.", "code": "broken"}
    assert printed.err == "It is broken.\n"


def test_a_generate_into_a_pipe_that_fails_says_so_in_json(capsys):
    assert main.run(["generate", "x", "--url", NOWHERE]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "no_server"


def test_wrong_usage_is_json_too_where_that_was_asked_for(capsys):
    with pytest.raises(SystemExit) as ended:
        main.run(["jobs", "cancel", "seven", "--json"])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert json.loads(printed.out) == {"error": "argument NUMBER: invalid int value: 'seven'", "code": "wrong_usage"}
    assert printed.err.splitlines()[-1].endswith("error: argument NUMBER: invalid int value: 'seven'")


def test_ctrl_c_ends_with_130_and_without_a_traceback(command, capsys):
    assert command(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, ROOT / "qwen_image_server.py", *arguments], cwd=ROOT, text=True, timeout=60, check=False,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_a_reader_that_has_left_is_no_reason_for_a_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        outcome = run("completion", "bash", stdout=pipe)
    assert (outcome.returncode, outcome.stderr) == (141, "")


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main.run(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"qwen-image-server {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["jobs", "list"], ["jobs", "cancel", "1"], ["loras", "list"], ["loras", "load", "x"],
     ["models", "list"], ["models", "pull", "x"], ["generate", "x", "-o", "x.png"]],
)  # fmt: skip
def test_without_a_server_every_command_says_one_sentence(arguments, capsys):
    assert main.run([*arguments, "--url", NOWHERE]) == 1
    assert capsys.readouterr().err == f"No server answers at {NOWHERE}; start one with: bash start_server.sh\n"
