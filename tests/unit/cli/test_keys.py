"""`keys new` adds a line that the server accepts, and shows the key once."""

import json
import stat

import pytest

from imageserver.api.credentials.key_entries import read_entries
from imageserver.cli import main
from imageserver.settings import Settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEYS_FILE", str(tmp_path / "secret" / "keys.txt"))
    return tmp_path / "secret" / "keys.txt"


def entries(file):
    return read_entries(Settings(_env_file=None, api_keys_file=file, api_keys=None))


def test_a_new_key_is_printed_once_and_opens_the_server(file, capsys):
    assert main.run(["keys", "new", "ann", "--rpm", "60"]) == 0
    printed = capsys.readouterr()
    [entry] = entries(file)
    assert (entry.name, entry.role, entry.limits.requests_per_minute) == ("ann", "user", 60)
    assert printed.out == f"{entry.key}\n"
    assert entry.key not in printed.err
    assert len(entry.key) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_that_are_there_stay_also_without_a_last_line_break(file, capsys):
    file.parent.mkdir()
    file.write_text("# friends\nbob:0123456789abcdef role=user")
    file.chmod(0o640)
    assert main.run(["keys", "new", "ann", "--role", "admin", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(entry.name, entry.role) for entry in entries(file)] == [("bob", "user"), ("ann", "admin")]
    assert told == {"name": "ann", "role": "admin", "file": str(file), "key": entries(file)[1].key}
    assert file.read_text().startswith("# friends\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["bob", "two words", "", "#ann"])
def test_a_name_that_the_server_would_refuse_changes_nothing(file, capsys, name):
    file.parent.mkdir()
    file.write_text("bob:0123456789abcdef\n")
    assert main.run(["keys", "new", name]) == 1
    assert file.read_text() == "bob:0123456789abcdef\n"
    assert capsys.readouterr().out == ""


def test_without_a_file_the_sentence_says_how_to_name_one(monkeypatch, capsys):
    monkeypatch.setenv("API_KEYS_FILE", "")
    assert main.run(["keys", "new", "ann"]) == 1
    assert capsys.readouterr().err == "API_KEYS_FILE is not set: set it, or name a file with --file.\n"
