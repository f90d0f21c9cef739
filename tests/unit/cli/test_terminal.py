"""Colours, ticks and images appear on terminals only, and only where they are wanted and understood."""

import base64
import io
import json

import pytest
from PIL import Image

from imageserver.cli import main
from imageserver.cli.terminal import output
from imageserver.cli.terminal.images import CHUNK, MAX_SIDE, escape_codes, protocol_of
from tests.support.scripted_http import scripted_server


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_state_has_a_sign_and_a_colour_on_terminals_only(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.with_sign("ok", "fine", io.StringIO()) == "fine"
    assert output.with_sign("ok", "fine", Terminal()) == "\x1b[32m\N{CHECK MARK} fine\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.with_sign("problem", "bad", Terminal()) == "\N{BALLOT X} bad"


def test_a_table_cuts_and_wraps_nothing(capsys):
    path = f"/{'long-' * 60}path"
    output.print_table(["A", "B"], [["x", path], [None, 1]])
    assert capsys.readouterr().out.splitlines() == ["A  B", f"x  {path}", "   1"]


def test_what_others_have_written_commands_no_terminal(capsys):
    output.print_table(["PROMPT"], [["a \x1b]0;owned\x07 cat\nJOB"]])
    output.print_line("\x9b2J\r")
    output.print_state("ok", "\x1bfine", " \x07")
    said = capsys.readouterr().out
    assert said == "PROMPT\na \\x1b]0;owned\\x07 cat\\nJOB\n\\x9b2J\\r\n\\x1bfine \\x07\n"


def test_json_is_the_same_document_without_what_commands_a_terminal(capsys):
    document = {"prompt": "\x1b[2J \x7f\x9b2J 猫 \ud800"}
    output.print_json(document)
    said = capsys.readouterr().out
    assert json.loads(said) == document
    assert not set("\x1b\x7f\x9b\ud800") & set(said)
    assert "猫" in said


HOSTILE = "evil \x1b]0;owned\x07 \x9b2J"
HEALTH = {
    "status": "degraded", "reason": HOSTILE, "version": HOSTILE, "gpu": HOSTILE,
    "generator_info": {"model_id": HOSTILE}, "active_tasks": 0, "queue_length": 0, "total_tasks": 0,
}  # fmt: skip
LORA = {"id": HOSTILE, "loaded": True, "size": 1, "trigger_words": [HOSTILE], "description": HOSTILE}


@pytest.mark.parametrize(
    ("command", "request_line", "answer"),
    [
        (["status"], "GET /health", HEALTH),
        (["loras", "list"], "GET /v1/loras", {"data": [LORA], "warnings": [HOSTILE]}),
        (["loras", "load", "x"], "POST /v1/loras/load", LORA),
        (["jobs", "cancel", "1"], "DELETE /v1/jobs/1", {"id": HOSTILE, "state": HOSTILE}),
        (["models", "list"], "GET /v1/models", {"data": [{"id": HOSTILE}]}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_no_command_prints_the_control_characters_of_a_server(capsys, command, request_line, answer):
    with scripted_server() as server:
        for code in (200, 400):
            server.answers[request_line] = (code, answer if code == 200 else {"error": HOSTILE, "code": HOSTILE})
            main.run([*command, "--url", server.url])
            said = "".join(capsys.readouterr())
            assert "evil \\x1b]0;owned\\x07 \\x9b2J" in said
            assert not set("\x1b\x07\x9b") & set(said)


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux"}, None),
    ],
)
def test_the_protocol_is_that_of_the_terminal(environment, protocol):
    assert protocol_of(environment) == protocol


@pytest.fixture
def image_file():
    file = io.BytesIO()
    Image.effect_noise((2 * MAX_SIDE, MAX_SIDE), 90).save(file, "JPEG")
    return file.getvalue()


def test_kitty_gets_a_small_png_in_pieces(image_file):
    codes = list(escape_codes(image_file, "kitty"))
    assert codes[0].startswith("\x1b_Ga=T,f=100,q=2,m=1;")
    assert codes[-1].startswith("\x1b_Gm=0;")
    pieces = [code.partition(";")[2].removesuffix("\x1b\\") for code in codes]
    assert max(map(len, pieces)) <= CHUNK
    with Image.open(io.BytesIO(base64.b64decode("".join(pieces)))) as shown:
        assert (shown.format, shown.size) == ("PNG", (MAX_SIDE, MAX_SIDE // 2))


def test_iterm2_gets_it_whole(image_file):
    [code] = escape_codes(image_file, "iterm2")
    head, _, text = code.removesuffix("\a").partition(":")
    data = base64.b64decode(text)
    assert head == f"\x1b]1337;File=inline=1;size={len(data)}"
    assert data.startswith(b"\x89PNG")
