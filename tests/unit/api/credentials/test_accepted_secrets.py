"""A worker that starts later has the secrets that its server read, whatever has happened to their files since."""

import pytest

from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.settings import Settings

NAMES = ["provenance_secret", "url_secret"]


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, state_dir=tmp_path, api_keys="ann:0123456789abcdef")


@pytest.fixture
def accepted(settings):
    accepted = AcceptedSecrets()
    accepted.accept(settings)
    return accepted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33])
def test_a_damaged_file_stops_no_worker_and_is_written_again(settings, accepted, caplog, tmp_path, name, damage):
    secret = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(damage)
    assert accepted.read(settings, name) == secret
    assert (tmp_path / name).read_bytes() == secret
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert f"{name} in STATE_DIR was damaged" in caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_deleted_gives_no_worker_a_secret_of_its_own_and_stays_away(settings, accepted, tmp_path, name):
    secret = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    assert accepted.read(settings, name) == secret
    assert not (tmp_path / name).exists(), "whoever deleted it wants another one after a restart"
    accepted.accept(settings)
    assert accepted.read(settings, name) != secret, "a reload is such a restart"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_mended_stops_no_worker_either(settings, accepted, tmp_path, name):
    secret = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert accepted.read(settings, name) == secret


def test_a_reload_with_a_damaged_file_is_refused_and_the_secret_stays(settings, accepted, tmp_path):
    secret = (tmp_path / "url_secret").read_bytes()
    (tmp_path / "url_secret").write_bytes(b"short")
    with pytest.raises(SystemExit, match="damaged url_secret"):
        accepted.accept(settings)
    assert accepted.read(settings, "url_secret") == secret


def test_without_keys_nothing_is_signed_and_no_secret_for_that_is_made(tmp_path):
    AcceptedSecrets().accept(Settings(_env_file=None, state_dir=tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["provenance_secret"]
