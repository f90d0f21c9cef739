"""A certificate authority of the tests' own, for C2PA manifests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imageserver.settings import Settings

SIGNER = "Example Images"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class SigningFiles:
    """The files of a certificate with its issuer's, and of its key."""

    cert: Path
    key: Path

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, c2pa_cert=self.cert, c2pa_key=self.key)

    @property
    def variables(self) -> dict[str, str]:
        return {"C2PA_CERT": str(self.cert), "C2PA_KEY": str(self.key)}


def new_key(kind: str = "P-256") -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "secp256k1": ec.SECP256K1}
    return ec.generate_private_key(curves[kind]())


class Authority:
    """Issues certificates; with the same `name`, two of them look alike."""

    def __init__(self, name: str = "Example CA") -> None:
        self._name, self._key = name, new_key()
        self.pem = self._certificate(name, self._key, DAY, is_authority=True)

    def issue(
        self,
        folder: Path,
        key: Any = None,
        *,
        lasts: timedelta = DAY,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
        serial: int | None = None,
    ) -> SigningFiles:
        """Write a certificate and its key into a folder; it begins a day ago and `lasts` from now."""
        key = key or new_key()
        files = SigningFiles(folder / "cert.pem", folder / "key.pem")
        files.cert.write_bytes(self._certificate(SIGNER, key, lasts, usage=usage, serial=serial) + self.pem)
        files.key.touch(mode=0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _certificate(
        self,
        name: str,
        key: Any,
        lasts: timedelta,
        *,
        is_authority: bool = False,
        usage: x509.ObjectIdentifier | None = None,
        serial: int | None = None,
    ) -> bytes:
        subject, issuer = (
            x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]
            )
            for text in (name, self._name)
        )
        now, own = datetime.now(UTC), self._key.public_key()
        signs = x509.KeyUsage(not is_authority, *(False,) * 4, is_authority, is_authority, *(False,) * 2)
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), serial or x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
