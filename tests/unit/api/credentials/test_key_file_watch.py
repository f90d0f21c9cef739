"""API_KEYS_FILE is read again when it has changed, and a wrong line changes nothing."""

import logging
import os

import pytest

from imageserver.api.credentials.accepted_keys import AcceptedKeys, open_worker_keyring
from imageserver.api.credentials.key_file_watch import KeyFileWatch
from imageserver.settings import Settings

ANN, BOB = "ann-key-0123456789", "bob-key-0123456789"


class WatchedFile:
    def __init__(self, file):
        self.file = file
        self.file.write_text(f"ann:{ANN}\n")
        self.settings = Settings(_env_file=None, api_keys_file=file)
        self.accepted = AcceptedKeys(file.with_name("accepted"))
        self.serves = True
        self.watch = KeyFileWatch(self.settings, self.accepted, lambda: self.serves)
        self.keyring = self.watch.keyring
        self.moment = 0

    def write(self, text):
        self.file.write_text(text)
        # Two writes within one tick of the file system's clock must differ too.
        self.moment += 1
        os.utime(self.file, ns=(self.moment, self.moment))

    def check_twice(self):
        self.watch.check()
        self.watch.check()

    def role(self, key):
        owner = self.keyring.owner_of(key)
        return owner.role if owner else None


@pytest.fixture
def watched(tmp_path):
    return WatchedFile(tmp_path / "keys")


def test_new_keys_and_roles_count_and_old_ones_end_without_a_restart(watched):
    watched.write(f"bob:{BOB} role=user\n")
    watched.check_twice()
    assert (watched.role(ANN), watched.role(BOB)) == (None, "user")


def test_a_file_that_is_still_being_written_waits(watched):
    watched.write(f"bob:{BOB}\n")
    watched.watch.check()
    watched.write(f"bob:{BOB}\nann:{ANN} role=user\n")
    watched.watch.check()
    assert (watched.role(ANN), watched.role(BOB)) == ("admin", None)
    watched.watch.check()
    assert (watched.role(ANN), watched.role(BOB)) == ("user", "admin")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"ann:{ANN}\n\nbob:{BOB} role=root\n", "The key in line 3 of API_KEYS_FILE has a wrong option"),
        ("# nobody\n", "contains no key"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_named_once_and_the_old_keys_stay(watched, caplog, text, sentence):
    if text is None:
        watched.file.unlink()
    else:
        watched.write(text)
    for _ in range(3):
        watched.check_twice()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert sentence in record.message
    assert BOB not in record.message
    assert watched.role(ANN) == "admin"
    watched.write(f"bob:{BOB}\n")
    watched.check_twice()
    assert (watched.role(ANN), watched.role(BOB)) == (None, "admin")


def test_a_worker_that_starts_while_the_file_is_wrong_has_the_keys_that_the_others_have(watched):
    watched.write(f"bob:{BOB}\n")
    watched.check_twice()
    watched.write("bob:short\n")
    watched.check_twice()
    keyring = open_worker_keyring(watched.settings, watched.accepted)
    assert (keyring.owner_of(ANN), keyring.owner_of(BOB).name) == (None, "bob")


def test_keys_that_are_kept_for_the_next_worker_are_written_again_where_their_file_is_removed(watched, tmp_path):
    watched.write(f"bob:{BOB}\n")
    watched.check_twice()
    watched.write("bob:short\n")
    watched.check_twice()
    (tmp_path / "accepted").unlink()
    watched.check_twice()
    keyring = open_worker_keyring(watched.settings, watched.accepted)
    assert (keyring.owner_of(ANN), keyring.owner_of(BOB).name) == (None, "bob")


def test_a_worker_that_no_key_of_the_file_opens_is_opened_as_soon_as_the_file_is_right(watched, tmp_path):
    (tmp_path / "accepted").unlink()
    watched.write("bob:short\n")
    watched.watch = KeyFileWatch(watched.settings, AcceptedKeys(tmp_path / "accepted"), lambda: True)
    watched.keyring = watched.watch.keyring
    watched.check_twice()
    assert (watched.role(ANN), watched.role(BOB)) == (None, None)
    watched.write(f"bob:{BOB}\n")
    watched.check_twice()
    assert watched.role(BOB) == "admin"


def test_a_file_that_changes_while_a_worker_starts_is_read_again(tmp_path, monkeypatch):
    file = tmp_path / "keys"

    def open_and_change(settings, accepted):
        keyring = open_worker_keyring(settings, accepted)
        file.write_text(f"bob:{BOB}\nann:{ANN} role=user\n")
        return keyring

    monkeypatch.setattr("imageserver.api.credentials.key_file_watch.open_worker_keyring", open_and_change)
    watched = WatchedFile(file)
    watched.check_twice()
    assert (watched.role(ANN), watched.role(BOB)) == ("user", "admin")


def test_keys_that_an_ending_dispatcher_has_removed_are_not_written_again(watched, tmp_path):
    (tmp_path / "accepted").unlink()
    watched.serves = False
    watched.check_twice()
    watched.write(f"bob:{BOB}\n")
    watched.check_twice()
    assert (watched.role(ANN), watched.role(BOB)) == (None, "admin"), "requests that still run are asked for their keys"
    assert not (tmp_path / "accepted").exists()
