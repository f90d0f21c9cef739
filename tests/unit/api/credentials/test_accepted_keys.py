"""A worker that starts while API_KEYS_FILE is wrong has the keys that were accepted last."""

import errno
import stat

import pytest

from imageserver.api.credentials.accepted_keys import AcceptedKeys, open_worker_keyring
from imageserver.api.credentials.api_keys import require_entries
from imageserver.client_limits import ClientLimits
from imageserver.settings import Settings

ANN, BOB, CAT = "ann-key-0123456789", "bob-key-0123456789", "cat-key-0123456789"


class KeyFile:
    def __init__(self, folder):
        self.file, self.kept = folder / "keys", folder / "run" / "7.keys"
        self.accepted = AcceptedKeys(self.kept)
        self.settings = Settings(_env_file=None, api_keys_file=self.file, api_keys=f"cat:{CAT}")

    def open(self, text):
        self.file.write_text(text)
        return open_worker_keyring(self.settings, self.accepted)


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path)


def test_the_next_worker_has_the_last_keys_with_their_roles_and_limits_and_no_older_ones(keys):
    keys.open(f"ann:{ANN}\n")
    keys.open(f"bob:{BOB} role=user rpm=60\n")
    keyring = keys.open(f"ann:{ANN}\nbob:short\n")
    bob = keyring.owner_of(BOB)
    assert (bob.name, bob.role, bob.limits) == ("bob", "user", ClientLimits(requests_per_minute=60))
    assert keyring.owner_of(CAT).name == "cat"
    assert keyring.owner_of(ANN) is None, "it was taken out"
    assert keyring.locked


def test_the_wrong_line_is_said_once_more(keys, caplog):
    keys.open(f"ann:{ANN}\n")
    keys.open("bob:short\n")
    assert "The key in line 1 of API_KEYS_FILE is too short" in caplog.text


def test_keys_of_the_settings_alone_are_not_kept(keys):
    settings = Settings(_env_file=None, api_keys=f"cat:{CAT}")
    keys.accepted.keep(require_entries(settings))
    assert not keys.kept.exists()


def test_what_is_kept_contains_no_key_and_nobody_else_may_read_it(keys):
    keys.open(f"ann:{ANN}\n")
    assert ANN.encode() not in keys.kept.read_bytes()
    assert stat.S_IMODE(keys.kept.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"xy": {}}', b'{"ab": {"name": "ann"}}', b'{"ab": 1}'])
def test_without_keys_that_were_accepted_a_wrong_file_opens_nothing_and_no_worker_ends_for_it(keys, caplog, content):
    if content is not None:
        keys.kept.parent.mkdir()
        keys.kept.write_bytes(content)
    keyring = keys.open(f"ann:{ANN}\nbob:short\n")
    assert "The key in line 2 of API_KEYS_FILE is too short" in caplog.text
    assert "No key of that file opens this worker" in caplog.text
    assert (keyring.locked, keyring.owner_of(ANN)) == (True, None)
    assert keyring.owner_of(CAT).name == "cat", "it is in API_KEYS"


def test_a_worker_serves_though_its_keys_cannot_be_kept(keys, caplog):
    keys.kept.parent.write_text("not a folder")
    assert keys.open(f"ann:{ANN}\n").owner_of(ANN).name == "ann"
    assert "could not be kept" in caplog.text


def test_a_key_that_was_taken_out_does_not_come_back_after_a_full_disk(keys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    keys.open(f"ann:{ANN}\n")
    monkeypatch.setattr("imageserver.api.credentials.accepted_keys.write_atomically", full)
    keys.open(f"bob:{BOB}\n")
    assert keys.open("bob:short\n").owner_of(ANN) is None
