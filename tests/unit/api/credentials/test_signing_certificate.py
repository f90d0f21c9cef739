"""A start whose certificate cannot sign images ends with one sentence, which shows nothing of the key."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from imageserver.api.credentials.signing_certificate import (
    open_reader,
    open_signer,
    open_worker_signer,
    require_signing,
)
from imageserver.imaging.provenance.manifests import extra
from imageserver.settings import Settings
from tests.support.signing import Authority, new_key

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


@pytest.fixture(scope="module")
def authority():
    return Authority()


def sentence_of(files):
    with pytest.raises(SystemExit) as ending:
        require_signing(files.settings)
    sentence = str(ending.value)
    assert "\n" not in sentence
    secret = [line for line in files.key.read_text().splitlines() if line and "--" not in line]
    assert not any(line in sentence for line in secret)
    return sentence


def test_nothing_is_needed_and_nothing_signs_without_a_certificate():
    settings = Settings(_env_file=None)
    require_signing(settings)
    assert open_signer(settings) is None


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA", "Ed25519"])
def test_every_kind_of_key_signs(authority, tmp_path, kind):
    files = authority.issue(tmp_path, new_key(kind))
    require_signing(files.settings)
    assert "PRIVATE" not in repr(open_signer(files.settings).certificate)


def test_the_older_format_of_openssl_is_read_too(authority, tmp_path):
    key = new_key()
    files = authority.issue(tmp_path, key)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    assert b"EC PRIVATE KEY" in files.key.read_bytes()
    require_signing(files.settings)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lasts": timedelta(hours=-1)}, "and not now: renew the certificate"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "cannot sign images: Signature: the certificate is invalid"),
        ({"key": new_key("secp256k1")}, "is a key that C2PA does not allow: use P-256"),
    ],
)
def test_a_certificate_that_may_not_sign_is_refused(authority, tmp_path, options, sentence):
    assert sentence in sentence_of(authority.issue(tmp_path, **options))


def test_a_chain_needs_the_right_issuer(authority, tmp_path):
    files = authority.issue(tmp_path)
    own = files.cert.read_bytes().removesuffix(authority.pem)
    files.cert.write_bytes(own)
    assert "has one certificate: put that of its issuer after it" in sentence_of(files)
    files.cert.write_bytes(own + Authority("Another CA").pem)
    assert "is not a chain" in sentence_of(files)


def test_a_key_of_another_certificate_is_refused(authority, tmp_path):
    files = authority.issue(tmp_path)
    files.key.write_bytes(new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "is not the key of the first certificate" in sentence_of(files)


def test_a_key_that_every_user_can_read_is_refused_and_one_of_a_group_is_not(authority, tmp_path):
    files = authority.issue(tmp_path)
    files.key.chmod(0o640)
    require_signing(files.settings)
    files.key.chmod(0o644)
    assert "can be read by every user of this machine: chmod 600" in sentence_of(files)


def test_files_without_what_they_should_have_are_named(authority, tmp_path):
    key = new_key()
    files = authority.issue(tmp_path, key)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    whole = files.key.read_bytes(), files.cert.read_bytes()
    for content, sentence in ((b"hush", "has no private key"), (encrypted, "is encrypted")):
        files.key.write_bytes(content)
        assert f"C2PA_KEY={files.key} {sentence}" in sentence_of(files)
    files.key.write_bytes(whole[0])
    files.cert.write_bytes(b"hush")
    assert "has no certificate in PEM format" in sentence_of(files)
    files.cert.unlink()
    assert f"C2PA_CERT={files.cert} cannot be read: No such file" in sentence_of(files)


def test_a_certificate_needs_the_extra(authority, tmp_path, monkeypatch):
    files = authority.issue(tmp_path)
    monkeypatch.setattr(extra, "PACKAGE", "not_installed")
    assert "needs c2pa-python, which is not installed" in sentence_of(files)
    assert open_reader(None) is None


def test_a_worker_goes_on_without_files_that_cannot_be_used_and_says_why(authority, tmp_path, caplog):
    files = authority.issue(tmp_path)
    assert open_worker_signer(files.settings)[1] == ""
    own = files.cert.read_bytes().removesuffix(authority.pem)
    (tmp_path / "other").mkdir()
    other = authority.issue(tmp_path / "other").cert.read_bytes()
    # Half written, of another key, and without its issuer: a reload reads what is there.
    for content in (own[:100], other, own):
        files.cert.write_bytes(content)
        signer, problem = open_worker_signer(files.settings)
        assert (signer, problem) == (None, f"Images have no C2PA manifest: {sentence_of(files)}")
        assert problem in caplog.text


def test_a_worker_signs_a_sample_only_with_a_certificate_that_is_valid(authority, tmp_path):
    other = authority.issue(tmp_path, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert "cannot sign images" in open_worker_signer(other.settings)[1]
    expired = authority.issue(tmp_path, lasts=timedelta(hours=-1))
    signer, problem = open_worker_signer(expired.settings)
    assert (signer.certificate.is_valid, problem) == (False, "")
