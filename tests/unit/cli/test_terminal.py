"""Colours, ticks and images appear on terminals only, and only where they are wanted and understood."""

import base64
import io

import pytest
from PIL import Image

from imageserver.cli.terminal import output
from imageserver.cli.terminal.images import CHUNK, MAX_SIDE, escape_codes, protocol_of


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
    assert capsys.readouterr().out == "PROMPT\na \\x1b]0;owned\\x07 cat\\nJOB\n"


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
