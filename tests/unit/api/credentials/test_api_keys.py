"""API keys have names, are compared in constant time, and never appear in error messages."""

import errno
import os
import secrets

import pytest

from imageserver.api.credentials.api_keys import Keyring, read_keyring
from imageserver.settings import Settings

LONG = "k" * 16


def keyring(keys: str | None = None, **settings: object) -> Keyring:
    return read_keyring(Settings(_env_file=None, api_keys=keys, **settings))


@pytest.fixture
def state(tmp_path):
    return {"state_dir": tmp_path}


def test_without_keys_nothing_is_locked():
    assert not keyring().locked
    assert not keyring("").locked


def test_keys_have_names_and_an_unnamed_key_gets_one_that_hides_it(state):
    ring = keyring(f"ann:{LONG}a, {LONG}b", **state)
    assert ring.locked
    assert ring.name_of(LONG + "a") == "ann"
    name = ring.name_of(LONG + "b")
    assert name.startswith("key-")
    assert LONG not in name
    assert ring.name_of(LONG) is None
    assert ring.name_of("") is None
    assert keyring(f"{LONG}b", **state).name_of(LONG + "b") == name


def test_a_file_has_one_key_per_line(state, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\nann:{LONG}a\n{LONG}b\n")
    ring = keyring(api_keys_file=file, **state)
    assert ring.name_of(LONG + "a") == "ann"
    assert ring.name_of(LONG + "b")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("short", "Key 1 of API_KEYS is too short: a key has at least 16 characters."),
        (LONG[1:], "Key 1 of API_KEYS is too short"),
        (f"ann:{LONG[1:]}", "Key 1 of API_KEYS is too short"),
        (f"{LONG},", "Key 2 of API_KEYS is empty"),
        (f"{LONG},,ann:{LONG}b", "Key 2 of API_KEYS is empty"),
        (" ", "Key 1 of API_KEYS is empty"),
        (f"ann:{LONG},ann:{LONG}b", "Key 2 of API_KEYS has the name of another"),
        (f"a:{LONG},b:{LONG}", "Key 2 of API_KEYS is a duplicate"),
        (f":{LONG}", "Key 1 of API_KEYS has an invalid name"),
        (f"an n:{LONG}", "Key 1 of API_KEYS has an invalid name"),
        (f"{LONG} {LONG}", "Key 1 of API_KEYS cannot be sent in an HTTP header"),
        (f"{LONG}ä", "Key 1 of API_KEYS cannot be sent in an HTTP header"),
    ],
)
def test_wrong_keys_are_one_sentence_without_the_key(keys, words, state):
    with pytest.raises(SystemExit) as stopped:
        keyring(keys, **state)
    assert str(stopped.value).startswith(words)
    assert "kkk" not in str(stopped.value)


def test_blanks_around_names_and_keys_mean_nothing_and_a_key_may_have_colons(state):
    ring = keyring(f" ann : {LONG}:{LONG} ", **state)
    assert ring.name_of(f"{LONG}:{LONG}") == "ann"


def test_a_missing_file_is_one_sentence(state, tmp_path):
    with pytest.raises(SystemExit, match="API_KEYS_FILE"):
        keyring(api_keys_file=tmp_path / "nothing", **state)


@pytest.mark.parametrize("content", ["", "\n\n", "# none yet\n"])
def test_a_file_without_a_key_does_not_open_the_server(content, state, tmp_path):
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(SystemExit, match="contains no key"):
        keyring(api_keys_file=file, **state)


def test_the_error_for_a_wrong_line_has_its_number(state, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\nann:{LONG}\n\nshort\n")
    with pytest.raises(SystemExit, match="The key in line 4 of API_KEYS_FILE is too short"):
        keyring(api_keys_file=file, **state)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(SystemExit, match="not valid UTF-8 text"):
        keyring(api_keys_file=file, **state)


def test_a_file_from_an_editor_that_marks_utf_8_is_read(state, tmp_path):
    file = tmp_path / "keys"
    file.write_bytes(b"\xef\xbb\xbf" + f"{LONG}a\r\n".encode())
    assert keyring(api_keys_file=file, **state).name_of(LONG + "a")


def test_settings_never_show_keys():
    settings = Settings(_env_file=None, api_keys=LONG)
    assert LONG not in repr(settings)
    assert LONG not in settings.model_dump_json()


def test_a_signature_is_valid_for_one_name_only_and_survives_a_restart(state):
    first, second = keyring(LONG, **state), keyring(LONG, **state)
    signature = first.sign("a.png")
    assert second.is_signed("a.png", signature)
    assert not second.is_signed("b.png", signature)
    assert not second.is_signed("a.png", "")
    assert not second.is_signed("a.png", "ä")


def test_only_the_owner_can_read_the_secret(state):
    keyring(LONG, **state)
    file = state["state_dir"] / "url_secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes()) == 32
    assert [path.name for path in state["state_dir"].iterdir()] == ["url_secret"]


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_damaged_secret_is_not_used(content, state):
    (state["state_dir"] / "url_secret").write_bytes(content)
    with pytest.raises(SystemExit, match="damaged url_secret"):
        keyring(LONG, **state)


def test_a_worker_uses_the_secret_of_one_that_was_faster(state, monkeypatch):
    generate, faster = secrets.token_bytes, []

    def generate_meanwhile(count):
        monkeypatch.setattr(secrets, "token_bytes", generate)
        faster.append(keyring(LONG, **state))
        return generate(count)

    monkeypatch.setattr(secrets, "token_bytes", generate_meanwhile)
    slower = keyring(LONG, **state)
    assert slower.sign("a.png") == faster[0].sign("a.png") == keyring(LONG, **state).sign("a.png")


def test_a_folder_without_hard_links_keeps_the_secret_too(state, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert keyring(LONG, **state).sign("a.png") == keyring(LONG, **state).sign("a.png")


def test_a_state_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SystemExit, match=r"STATE_DIR=.*url_secret"):
        keyring(LONG, state_dir=tmp_path / "state")
