"""The API keys of a server, compared in constant time."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imageserver.api.credentials.key_entries import KeyEntry, Role, UnusableEntry, digest_of, read_entries
from imageserver.client_limits import ClientLimits
from imageserver.settings import Settings


@dataclass(frozen=True)
class Owner:
    """Whose key it is, and what the owner may do."""

    name: str
    role: Role
    # None means those of the settings.
    limits: ClientLimits | None = None


# The owners of keys by the digests of these.
Owners = Mapping[bytes, Owner]
# Of a server without keys, and of what needs none.
NOBODY = Owner("", "admin")


def owners_of(entries: Iterable[KeyEntry]) -> Owners:
    """Return the owners of the keys in some entries."""
    return {digest_of(entry.key): Owner(entry.name, entry.role, entry.limits) for entry in entries}


class Keyring:
    """The API keys of a server and their owners; `locked` means that a key is required."""

    def __init__(self, entries: Iterable[KeyEntry], *, locked: bool) -> None:
        self.locked = locked
        self.replace(entries)

    def replace(self, entries: Iterable[KeyEntry]) -> None:
        """Accept these keys only, from now on."""
        self._owners = owners_of(entries)

    def accept(self, owners: Owners) -> None:
        """Accept the keys of these owners, too."""
        self._owners = {**self._owners, **owners}

    def owner_of(self, key: str) -> Owner | None:
        """Return the owner of a key; compares it with every key, so that the time reveals nothing."""
        digest, found = digest_of(key), None
        for known, owner in self._owners.items():
            if hmac.compare_digest(digest, known):
                found = owner
        return found


def read_keyring(settings: Settings) -> Keyring:
    """Return the keys in the settings; raises SystemExit with one sentence that contains no key."""
    return Keyring(require_entries(settings), locked=settings.asks_for_keys)


def require_entries(settings: Settings) -> list[KeyEntry]:
    """Return the entries of the keys in the settings; raises SystemExit with one sentence that contains no key."""
    try:
        return read_entries(settings)
    except UnusableEntry as error:
        raise SystemExit(str(error)) from None
