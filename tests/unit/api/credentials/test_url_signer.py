"""The addresses of saved images are signed with a secret of the server, for ever or for a time."""

import errno
import os
import secrets

import pytest

from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.api.credentials.url_signer import UrlSigner, read_signer
from imageserver.settings import Settings


def signer(**settings: object) -> UrlSigner:
    made = read_signer(Settings(_env_file=None, api_keys="k" * 16, **settings), AcceptedSecrets())
    assert made is not None
    return made


@pytest.fixture
def state(tmp_path):
    return {"state_dir": tmp_path}


def test_a_signature_is_valid_for_one_name_only_and_survives_a_restart(state):
    first, second = signer(**state), signer(**state)
    query = first.sign("a.png")
    assert second.opens("a.png", query)
    assert not second.opens("b.png", query)
    for wrong in ({}, {"sig": ""}, {"sig": "ä"}, query | {"until": "99999999999"}):
        assert not second.opens("a.png", wrong)


def test_only_the_owner_can_read_the_secret(state):
    signer(**state)
    file = state["state_dir"] / "url_secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes()) == 32
    assert [path.name for path in state["state_dir"].iterdir()] == ["url_secret"]


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_damaged_secret_is_not_used(content, state):
    (state["state_dir"] / "url_secret").write_bytes(content)
    with pytest.raises(SystemExit, match="damaged url_secret"):
        signer(**state)


def test_a_worker_uses_the_secret_of_one_that_was_faster(state, monkeypatch):
    generate, faster = secrets.token_bytes, []

    def generate_meanwhile(count):
        monkeypatch.setattr(secrets, "token_bytes", generate)
        faster.append(signer(**state))
        return generate(count)

    monkeypatch.setattr(secrets, "token_bytes", generate_meanwhile)
    slower = signer(**state)
    assert slower.sign("a.png") == faster[0].sign("a.png") == signer(**state).sign("a.png")


def test_a_folder_without_hard_links_keeps_the_secret_too(state, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert signer(**state).sign("a.png") == signer(**state).sign("a.png")


def test_a_state_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SystemExit, match=r"STATE_DIR=.*url_secret"):
        signer(state_dir=tmp_path / "state")


def test_an_address_expires_after_url_ttl_and_its_end_cannot_be_moved():
    now = 1000.0
    signer = UrlSigner(b"s" * 32, ttl=60, clock=lambda: now)
    query = signer.sign("a.png")
    assert query["until"] == "1062"
    assert signer.opens("a.png", query)
    for moved in ("", "1063", "0x424", "9" * 5000, "ä"):
        assert not signer.opens("a.png", query | {"until": moved})
    now = 1060.0
    assert signer.opens("a.png", query)
    now = 1062.0
    assert not signer.opens("a.png", query)


@pytest.mark.parametrize("ttl", [0.5, 1, 60, 86400])
def test_an_address_stays_the_same_for_a_while_so_that_browsers_keep_its_image(ttl):
    now, ends = 1_800_000_000.0, []
    signer = UrlSigner(b"s" * 32, ttl=ttl, clock=lambda: now)
    for _ in range(100):
        ends.append(int(signer.sign("a.png")["until"]))
        assert -1e-5 < ends[-1] - now - ttl < max(1, 0.1 * ttl) + 1e-5
        now += ttl / 100
    assert len(set(ends)) <= 11


def test_an_address_from_before_url_ttl_still_opens():
    query = UrlSigner(b"s" * 32).sign("a.png")
    assert "until" not in query
    assert UrlSigner(b"s" * 32, ttl=60).opens("a.png", query)


def test_without_keys_nothing_is_signed(tmp_path):
    assert read_signer(Settings(_env_file=None, state_dir=tmp_path), AcceptedSecrets()) is None
    assert not list(tmp_path.iterdir())
