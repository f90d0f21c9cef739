"""API_KEYS_FILE is read again when it has changed, and a wrong line changes nothing."""

import logging
import os

import pytest

from imageserver.api.credentials.api_keys import read_keyring
from imageserver.api.credentials.key_file_watch import KeyFileWatch
from imageserver.settings import Settings

ANN, BOB = "ann-key-0123456789", "bob-key-0123456789"


class WatchedFile:
    def __init__(self, file):
        self.file = file
        self.file.write_text(f"ann:{ANN}\n")
        settings = Settings(_env_file=None, api_keys_file=file)
        self.keyring = read_keyring(settings)
        self.watch = KeyFileWatch(settings, self.keyring)
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
