"""The certificate and the private key of C2PA_CERT and C2PA_KEY, with which images are signed."""

import base64
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from imageserver.imaging.provenance.manifests import extra
from imageserver.imaging.provenance.manifests.certificate import SigningCertificate
from imageserver.imaging.provenance.manifests.claims import ManifestClaim
from imageserver.settings import IS_CHECKOUT, Settings

if TYPE_CHECKING:
    # They import c2pa and cryptography, which need not be installed.
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from imageserver.imaging.provenance.manifests.reading import ManifestReader
    from imageserver.imaging.provenance.manifests.signer import ManifestSigner

logger = logging.getLogger(__name__)

# One black pixel, signed at the start to see whether the certificate can.
SAMPLE_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
SAMPLE_CLAIM = ManifestClaim(model="demo", source_type="trainedAlgorithmicMedia")
ALGORITHMS = {256: "es256", 384: "es384", 521: "es512"}


def require_signing(settings: Settings) -> None:
    """Exit with one sentence where C2PA_CERT and C2PA_KEY cannot sign images; one is signed to see that."""
    signer = open_signer(settings)
    if signer is None:
        return
    certificate = signer.certificate
    if not certificate.is_valid:
        raise SystemExit(
            f"C2PA_CERT={settings.c2pa_cert} is valid from {certificate.begins:%Y-%m-%d %H:%M} to "
            f"{certificate.expires:%Y-%m-%d %H:%M} UTC, and not now: renew the certificate, or correct the clock."
        )
    _require_sample(settings, signer)


def open_worker_signer(settings: Settings) -> "tuple[ManifestSigner | None, str]":
    """Return what signs the images of one worker, or None and why there is nothing; that is logged too.

    The files may have changed since the start: gunicorn would start a worker that exits again and again.
    """
    try:
        signer = open_signer(settings)
        if signer is not None and signer.certificate.is_valid:
            _require_sample(settings, signer)
    except SystemExit as error:
        problem = f"Images have no C2PA manifest: {error}"
        logger.error("%s", problem)
        return None, problem
    return signer, ""


def open_signer(settings: Settings) -> "ManifestSigner | None":
    """Return what signs images, None without C2PA_CERT; raises SystemExit for files that cannot be used."""
    if settings.c2pa_cert is not None and not extra.is_installed():
        command = "bash start_server.sh" if IS_CHECKOUT else "pip install 'qwen-image-server[c2pa]'"
        raise SystemExit(f"C2PA_CERT needs c2pa-python, which is not installed: {command} installs it.")
    certificate = read_signing_certificate(settings)
    if certificate is None:
        return None
    from imageserver.imaging.provenance.manifests.signer import ManifestSigner, SigningFailed

    try:
        return ManifestSigner(certificate)
    except SigningFailed as error:
        raise SystemExit(f"C2PA_CERT={settings.c2pa_cert} cannot be used: {error}.") from None


def _require_sample(settings: Settings, signer: "ManifestSigner") -> None:
    """Raise SystemExit where a sample cannot be signed, or is not trusted afterwards."""
    from imageserver.imaging.provenance.manifests.reading import ManifestReader
    from imageserver.imaging.provenance.manifests.signer import SigningFailed

    try:
        signed = signer.signed(SAMPLE_PNG, "png", SAMPLE_CLAIM)
    except SigningFailed as error:
        raise SystemExit(f"C2PA_CERT={settings.c2pa_cert} cannot sign images: {error}.") from None
    manifest = ManifestReader(signer.certificate.issuers).read(signed)
    if manifest is None or not manifest.trusted:
        raise SystemExit(
            f"C2PA_CERT={settings.c2pa_cert} is not a chain: after the certificate come those of its issuers, in order."
        )


def open_reader(signer: "ManifestSigner | None") -> "ManifestReader | None":
    """Return what checks manifests and trusts the issuers of a signer's certificate, None without the extra."""
    if not extra.is_installed():
        return None
    from imageserver.imaging.provenance.manifests.reading import ManifestReader

    return ManifestReader(signer.certificate.issuers if signer else "")


def read_signing_certificate(settings: Settings) -> SigningCertificate | None:
    """Return the certificate of C2PA_CERT with the key of C2PA_KEY, None without them; raises SystemExit."""
    if settings.c2pa_cert is None or settings.c2pa_key is None:
        return None
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    cert_name, key_name = f"C2PA_CERT={settings.c2pa_cert}", f"C2PA_KEY={settings.c2pa_key}"
    try:
        certificates = x509.load_pem_x509_certificates(_content(cert_name, settings.resolve(settings.c2pa_cert)))
    except ValueError:
        raise SystemExit(f"{cert_name} has no certificate in PEM format.") from None
    if len(certificates) == 1:
        raise SystemExit(f"{cert_name} has one certificate: put that of its issuer after it.")
    key_file = settings.resolve(settings.c2pa_key)
    key = _private_key(key_name, _content(key_name, key_file))
    _require_private(key_name, key_file)
    own, texts = certificates[0], [certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates]
    if own.public_key() != key.public_key():
        raise SystemExit(f"{key_name} is not the key of the first certificate of {cert_name}.")
    return SigningCertificate(
        chain="".join(texts),
        issuers="".join(texts[1:]),
        key=_as_pem(key),
        algorithm=_algorithm(key_name, key),
        serial=str(own.serial_number),
        begins=own.not_valid_before_utc,
        expires=own.not_valid_after_utc,
    )


def _content(name: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SystemExit(f"{name} cannot be read: {error.strerror}.") from None


def _require_private(name: str, file: Path) -> None:
    """Raise SystemExit where every user of this machine may read a file; its group may."""
    # On Windows these bits say nothing.
    if os.name != "nt" and file.stat().st_mode & stat.S_IRWXO:
        raise SystemExit(f"{name} can be read by every user of this machine: chmod 600 {file} keeps it private.")


def _private_key(name: str, content: bytes) -> "PrivateKeyTypes":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise SystemExit(f"{name} is encrypted, and nobody is there to type its password: decrypt it.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SystemExit(f"{name} has no private key in PEM format.") from None


def _as_pem(key: "PrivateKeyTypes") -> str:
    """Return a key as c2pa reads it: OpenSSL writes older formats too."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _algorithm(name: str, key: "PrivateKeyTypes") -> str:
    """Return C2PA's name of what a key signs with; raises SystemExit for a key that C2PA does not allow."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
        return ALGORITHMS[key.key_size]
    if isinstance(key, RSAPrivateKey):
        return "ps256"
    if isinstance(key, Ed25519PrivateKey):
        return "ed25519"
    raise SystemExit(f"{name} is a key that C2PA does not allow: use P-256, P-384, P-521, RSA or Ed25519.")
