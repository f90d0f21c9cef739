"""What the seal and the manifest of a file prove together.

The seal comes first and covers every byte but the manifest's, which has a signature of its own and covers the seal.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imageserver.imaging.provenance.manifests.embedding import without_manifest
from imageserver.imaging.provenance.sealing import INTACT, SealCheck, Sealer
from imageserver.imaging.provenance.xmp import promised_manifest

if TYPE_CHECKING:
    # It imports c2pa, which need not be installed.
    from imageserver.imaging.provenance.manifests.reading import Manifest, ManifestReader

MANIFEST_REMOVED = replace(
    INTACT, unchanged=False, reason="This server wrote the file, but its C2PA manifest was removed."
)
MANIFEST_CHANGED = replace(
    INTACT, unchanged=False, reason="This server wrote the file, but its C2PA manifest was changed or replaced."
)
MANIFEST_UNREAD = replace(
    INTACT,
    unchanged=None,
    reason="This server wrote the file, every byte but its C2PA manifest is as it was, and without the extra c2pa that "
    "cannot be checked.",
)
SIGNER_UNKNOWN = replace(
    INTACT,
    unchanged=None,
    reason="This server wrote the file, and every byte but its C2PA manifest is as it was; the certificate of the "
    "manifest has expired, or has another issuer than this server's own.",
)


@dataclass(frozen=True)
class Verification:
    """What a seal proves, and the manifest, None without one and where none can be read."""

    check: SealCheck
    manifest: "Manifest | None"


def verify(data: bytes, settings: str | None, sealer: Sealer, reader: "ManifestReader | None") -> Verification:
    """Return what a file proves; `settings` is the JSON text in its metadata, None without one."""
    bare = without_manifest(data)
    serial = promised_manifest(bare)
    manifest = reader.read(data) if reader else None
    # A manifest that somebody else has added is a change like any other.
    check = sealer.check(data if serial is None else bare, settings)
    if check is INTACT and serial is not None:
        check = MANIFEST_UNREAD if reader is None else _check_of(manifest, serial)
        check = MANIFEST_REMOVED if bare == data else check
    return Verification(check, manifest)


def _check_of(manifest: "Manifest | None", serial: str) -> SealCheck:
    """Return the check of a file that has the right seal, and was signed with the certificate of that number."""
    if manifest is None or manifest.changed or manifest.serial != serial:
        return MANIFEST_CHANGED
    # The number alone proves nothing: an issuer gives each once, but anybody may be an issuer.
    return INTACT if manifest.trusted else SIGNER_UNKNOWN
