"""How c2pa works here: it asks no other machine, and keeps no thumbnails."""

import c2pa

SETTINGS = {
    # An image may name any address for its manifest.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    # They are refused before: should one be overlooked, this bounds it.
    "core": {"max_decompressed_manifest_size_in_mb": 1},
    "builder": {"thumbnail": {"enabled": False}},
}


def new_context(signer: c2pa.Signer | None = None, *, issuers: str = "") -> c2pa.Context:
    """Return what builders and readers of any thread share; certificates of `issuers`, as PEM, are trusted."""
    trust = {"trust": {"user_anchors": issuers}} if issuers else {}
    return c2pa.Context(settings=c2pa.Settings.from_dict(SETTINGS | trust), signer=signer)
