"""Reads and checks the manifest of an image."""

import io
import json
from dataclasses import dataclass
from typing import Any

import c2pa

from imageserver.imaging.provenance.manifests.context import new_context
from imageserver.imaging.provenance.manifests.embedding import media_type_of
from imageserver.imaging.provenance.manifests.store import Problem, StoreRefused, manifest_store

# Codes of C2PA about the certificate and the time, and not about the file.
ABOUT_THE_SIGNER = ("signingCredential.", "timeStamp.", "timeOfSigning.")
# Of c2pa's report, which may be many times as long as the manifest.
MAX_REPORT_CHARACTERS = 2**22


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a manifest says, and whether it holds.

    `valid` is C2PA's own word: the signature is right, nothing was changed, the certificate has not expired. `trusted`
    says whether its certificate comes from an issuer that this server knows. `problems` are C2PA's codes, `unreadable`,
    or `too_large` or `compressed` for one that is not read.
    """

    valid: bool
    changed: bool
    trusted: bool = False
    signer: str | None = None
    serial: str | None = None
    generator: str | None = None
    problems: tuple[str, ...] = ()


class ManifestReader:
    """Reads manifests on any thread; certificates of `issuers`, as PEM, are trusted."""

    def __init__(self, issuers: str = "") -> None:
        self._context = new_context(issuers=issuers)

    def read(self, data: bytes) -> Manifest | None:
        """Return the manifest inside a PNG, JPEG or WebP file, None without one; no other place is looked at."""
        try:
            store = manifest_store(data)
            return None if store is None else self._read(data, store)
        except StoreRefused as refusal:
            return _unread(refusal.problem)

    def _read(self, data: bytes, store: bytes) -> Manifest:
        try:
            # It reads the store that was measured, wherever it would have looked for one itself.
            with c2pa.Reader(media_type_of(data), io.BytesIO(data), store, context=self._context) as reader:
                report, state = reader.json(), reader.get_validation_state()
        except c2pa.C2paError:
            return _unread("unreadable")
        return _unread("too_large") if len(report) > MAX_REPORT_CHARACTERS else _described(json.loads(report), state)


def _unread(problem: Problem) -> Manifest:
    # What is too large, or compressed, may be as it was signed.
    return Manifest(valid=False, changed=problem == "unreadable", problems=(problem,))


def _described(content: dict[str, Any], state: str | None) -> Manifest:
    active = content.get("manifests", {}).get(content.get("active_manifest"), {})
    signature, generators = active.get("signature_info", {}), active.get("claim_generator_info") or [{}]
    problems = tuple(dict.fromkeys(status["code"] for status in content.get("validation_status", [])))
    generator = " ".join(generators[0][part] for part in ("name", "version") if part in generators[0])
    return Manifest(
        valid=state in ("Valid", "Trusted"),
        changed=any(not code.startswith(ABOUT_THE_SIGNER) for code in problems),
        trusted=state == "Trusted",
        signer=signature.get("common_name") or signature.get("issuer"),
        serial=signature.get("cert_serial_number"),
        generator=generator or None,
        problems=problems,
    )
