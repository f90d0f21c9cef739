"""What the owner writes about a client: `NAME:KEY role=user rpm=60`, in API_KEYS or as a line of API_KEYS_FILE."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from imageserver.client_limits import NO_LIMITS, ClientLimits, limits_in
from imageserver.settings import Settings

Role = Literal["user", "admin"]
ROLES = get_args(Role)
MIN_KEY_CHARACTERS = 16
KEY = re.compile(r"[\x21-\x7e]+")
# Up to a billion; 0 means no limit.
AMOUNT = re.compile(r"[0-9]{1,9}")
# Names of options, and the limits that they set.
LIMITS = {
    "rpm": "requests_per_minute", "device_seconds_per_hour": "seconds_per_hour",
    "device_seconds_per_day": "seconds_per_day",
}  # fmt: skip
# Names appear in logs and responses.
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class UnusableEntry(Exception):
    """An entry is wrong; its sentence says where and contains no key."""


@dataclass(frozen=True, kw_only=True)
class KeyEntry:
    """A key, the name of its owner, and what the owner may do."""

    name: str
    key: str
    role: Role = "admin"
    limits: ClientLimits = NO_LIMITS
    # Of API_KEYS_FILE, not of API_KEYS.
    in_file: bool = False


def read_entries(settings: Settings) -> list[KeyEntry]:
    """Return the entries of API_KEYS and API_KEYS_FILE; raises UnusableEntry."""
    keys: dict[str, KeyEntry] = {}
    for location, text, in_file in _texts(settings):
        entry = replace(_parsed(location, text, limits_in(settings)), in_file=in_file)
        if entry.key in keys:
            raise UnusableEntry(f"{location} is a duplicate: give every client its own key.")
        if entry.name in {other.name for other in keys.values()}:
            raise UnusableEntry(f"{location} has the name of another key: give every key its own name.")
        keys[entry.key] = entry
    return list(keys.values())


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _texts(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Yield every entry with a description of its location for error messages, and whether that is the file."""
    if settings.api_keys:
        for number, entry in enumerate(settings.api_keys.get_secret_value().split(","), start=1):
            yield f"Key {number} of API_KEYS", entry.strip(), False
    file = settings.api_keys_file
    if file is None:
        return
    try:
        # Some editors write a byte order mark.
        lines = settings.resolve(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UnusableEntry(f"API_KEYS_FILE={file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnusableEntry(f"API_KEYS_FILE={file} is not valid UTF-8 text.") from None
    stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    entries = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    if not entries:
        # A server whose owner names a key file must not run open.
        raise UnusableEntry(f"API_KEYS_FILE={file} contains no key; to run without keys, do not set it.")
    for number, line in entries:
        yield f"The key in line {number} of API_KEYS_FILE", line, True


def _parsed(location: str, text: str, limits: ClientLimits) -> KeyEntry:
    """Return the entry in a text; it has these `limits` unless it says otherwise. Raises UnusableEntry."""
    if not text:
        raise UnusableEntry(f"{location} is empty: remove the extra comma.")
    named = ":" in text
    name, rest = (part.strip() for part in text.split(":", 1)) if named else ("", text)
    key, *options = rest.split() or [""]
    if named and not NAME.fullmatch(name):
        raise UnusableEntry(
            f"{location} has an invalid name: use 1 to 64 letters, digits and . _ @ - before the colon."
        )
    if len(key) < MIN_KEY_CHARACTERS:
        raise UnusableEntry(f"{location} is too short: a key has at least {MIN_KEY_CHARACTERS} characters.")
    if not KEY.fullmatch(key) or not all("=" in option for option in options):
        raise UnusableEntry(f"{location} cannot be sent in an HTTP header: use ASCII characters without spaces.")
    # A key without a name is named by its digest, which does not reveal it.
    entry = KeyEntry(name=name or f"key-{digest_of(key).hex()[:8]}", key=key, limits=limits)
    return _with_options(entry, options, location)


def _with_options(entry: KeyEntry, options: list[str], location: str) -> KeyEntry:
    """Return an entry with what its options say; raises UnusableEntry for a wrong one."""
    named = dict(option.split("=", 1) for option in options)
    if len(named) != len(options) or not all(_is_known(name, value) for name, value in named.items()):
        # The text may be a part of a key, so the sentence does not quote it.
        known = ", ".join(f"{name}=NUMBER" for name in LIMITS)
        raise UnusableEntry(
            f"{location} has a wrong option: after the key come role=user or role=admin, {known}, each once and "
            "separated by spaces."
        )
    limits: dict[str, Any] = {LIMITS[name]: int(value) for name, value in named.items() if name in LIMITS}
    role = cast(Role, named.get("role", entry.role))
    return replace(entry, role=role, limits=replace(entry.limits, **limits))


def _is_known(name: str, value: str) -> bool:
    return value in ROLES if name == "role" else name in LIMITS and AMOUNT.fullmatch(value) is not None
