"""API keys have names, are compared in constant time, and never appear in error messages."""

import hmac

import pytest

from imageserver.api.credentials.api_keys import Keyring, read_keyring
from imageserver.client_limits import ClientLimits
from imageserver.settings import Settings

LONG = "k" * 16


def keyring(keys: str | None = None, **settings: object) -> Keyring:
    return read_keyring(Settings(_env_file=None, api_keys=keys, **settings))


def name_in(ring: Keyring, key: str) -> str | None:
    owner = ring.owner_of(key)
    return owner.name if owner else None


@pytest.fixture
def state(tmp_path):
    return {"state_dir": tmp_path}


def test_without_keys_nothing_is_locked():
    assert not keyring().locked
    assert not keyring("").locked


@pytest.mark.fault(27)
def test_a_key_is_compared_with_every_key_and_in_constant_time(state, monkeypatch):
    ring, compared, compare = keyring(f"ann:{LONG}a,bob:{LONG}b,zoe:{LONG}z", **state), [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *digests: compared.append(digests) or compare(*digests))
    for key, owner in ((f"{LONG}a", "ann"), (f"{LONG}z", "zoe"), ("wrong", None)):
        compared.clear()
        assert name_in(ring, key) == owner
        assert len(compared) == 3


def test_keys_have_names_and_an_unnamed_key_gets_one_that_hides_it(state):
    ring = keyring(f"ann:{LONG}a, {LONG}b", **state)
    assert ring.locked
    assert name_in(ring, LONG + "a") == "ann"
    name = name_in(ring, LONG + "b")
    assert name.startswith("key-")
    assert LONG not in name
    assert name_in(ring, LONG) is None
    assert name_in(ring, "") is None
    assert name_in(keyring(f"{LONG}b", **state), LONG + "b") == name


def test_a_file_has_one_key_per_line(state, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\nann:{LONG}a\n{LONG}b\n")
    ring = keyring(api_keys_file=file, **state)
    assert name_in(ring, LONG + "a") == "ann"
    assert name_in(ring, LONG + "b")


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
        (f"{LONG} note={LONG}", "Key 1 of API_KEYS has a wrong option"),
        (f"{LONG} role=root", "Key 1 of API_KEYS has a wrong option: after the key come role=user or role=admin"),
        (f"{LONG} rpm=many", "Key 1 of API_KEYS has a wrong option"),
        (f"{LONG} rpm=-1", "Key 1 of API_KEYS has a wrong option"),
        (f"{LONG} role=user role=admin", "Key 1 of API_KEYS has a wrong option"),
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
    assert name_in(ring, f"{LONG}:{LONG}") == "ann"


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
    assert name_in(keyring(api_keys_file=file, **state), LONG + "a")


def test_settings_never_show_keys():
    settings = Settings(_env_file=None, api_keys=LONG)
    assert LONG not in repr(settings)
    assert LONG not in settings.model_dump_json()


def test_a_key_is_an_admins_unless_its_entry_says_user(state, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"ann:{LONG}a\nbob:{LONG}b  role=user\n{LONG}c role=admin\nrole=user-is-a-key role=user\n")
    ring = keyring(f"eve:{LONG}e role=user, zoe:{LONG}z", api_keys_file=file, **state)
    keys = (LONG + "a", LONG + "b", LONG + "c", "role=user-is-a-key", LONG + "e", LONG + "z")
    assert [ring.owner_of(key).role for key in keys] == ["admin", "user", "admin", "user", "user", "admin"]


def test_a_key_has_limits_of_its_own_or_those_of_the_settings(state):
    own = "rpm=60 device_seconds_per_hour=600 role=user device_seconds_per_day=0"
    ring = keyring(f"ann:{LONG}a {own},bob:{LONG}b", rate_limit_rpm=5, quota_seconds_per_day=7.5, **state)
    assert ring.owner_of(LONG + "a").limits == ClientLimits(requests_per_minute=60, seconds_per_hour=600)
    assert ring.owner_of(LONG + "b").limits == ClientLimits(requests_per_minute=5, seconds_per_day=7.5)
