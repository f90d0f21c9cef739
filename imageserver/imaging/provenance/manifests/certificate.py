"""The operator's certificate, with which manifests are signed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True)
class SigningCertificate:
    """A certificate with those of its issuers and its private key, as PEM texts.

    `algorithm` is C2PA's name of the signature, `serial` the certificate's number in decimal; its issuers are
    `issuers`, which `chain` contains too.
    """

    chain: str
    issuers: str
    key: str = field(repr=False)
    algorithm: str
    serial: str
    begins: datetime
    expires: datetime

    @property
    def is_valid(self) -> bool:
        """Whether it may sign now."""
        return self.has_begun and datetime.now(UTC) < self.expires

    @property
    def has_begun(self) -> bool:
        return self.begins <= datetime.now(UTC)
