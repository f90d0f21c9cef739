"""API keys by name, compared in constant time, and the signatures of the addresses of saved images."""

import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping

from imageserver.atomic_write import move_to_new, written_aside
from imageserver.settings import Settings

MIN_KEY_CHARACTERS = 16
KEY = re.compile(r"[\x21-\x7e]+")
# Names appear in logs and responses.
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
SECRET_BYTES = 32
SIGNATURE_CHARACTERS = 32


class Keyring:
    """The API keys of a server by name; none if `locked` is false."""

    def __init__(self, keys: Mapping[str, str], secret: bytes, *, locked: bool) -> None:
        """Store the digests of the keys by name; `secret` signs addresses, `locked` means that a key is required."""
        self._digests = {name: _digest(key) for name, key in keys.items()}
        self._secret = secret
        self.locked = locked

    def name_of(self, key: str) -> str | None:
        """Return the name of a key; compares it with every key, so that the time reveals nothing."""
        digest, found = _digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def sign(self, name: str) -> str:
        """Return the signature with which the address of a saved image needs no key."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_CHARACTERS]

    def is_signed(self, name: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(name).encode(), signature.encode())


def read_keyring(settings: Settings) -> Keyring:
    """Return the keys in the settings; raises SystemExit with one sentence that contains no key."""
    locked = settings.asks_for_keys
    return Keyring(read_keys(settings), _secret(settings) if locked else b"", locked=locked)


def read_keys(settings: Settings) -> dict[str, str]:
    """Return the keys in the settings by name; raises SystemExit with one sentence that contains no key."""
    keys: dict[str, str] = {}
    for location, entry in _entries(settings):
        name, key = _parsed(location, entry)
        if key in keys.values():
            raise SystemExit(f"{location} is a duplicate: give every client its own key.")
        if name in keys:
            raise SystemExit(f"{location} has the name of another key: give every key its own name.")
        keys[name] = key
    return keys


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every entry with a description of its location for error messages."""
    if settings.api_keys:
        for number, entry in enumerate(settings.api_keys.get_secret_value().split(","), start=1):
            yield f"Key {number} of API_KEYS", entry.strip()
    file = settings.api_keys_file
    if file is None:
        return
    try:
        # Some editors write a byte order mark.
        lines = settings.resolve(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SystemExit(f"API_KEYS_FILE={file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SystemExit(f"API_KEYS_FILE={file} is not valid UTF-8 text.") from None
    stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    entries = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    if not entries:
        # A server whose owner names a key file must not run open.
        raise SystemExit(f"API_KEYS_FILE={file} contains no key; to run without keys, do not set it.")
    for number, line in entries:
        yield f"The key in line {number} of API_KEYS_FILE", line


def _parsed(location: str, entry: str) -> tuple[str, str]:
    """Return the name and the key of an entry; raises SystemExit."""
    if not entry:
        raise SystemExit(f"{location} is empty: remove the extra comma.")
    named = ":" in entry
    name, key = (part.strip() for part in entry.split(":", 1)) if named else ("", entry)
    if named and not NAME.fullmatch(name):
        raise SystemExit(f"{location} has an invalid name: use 1 to 64 letters, digits and . _ @ - before the colon.")
    if len(key) < MIN_KEY_CHARACTERS:
        raise SystemExit(f"{location} is too short: a key has at least {MIN_KEY_CHARACTERS} characters.")
    if not KEY.fullmatch(key):
        raise SystemExit(f"{location} cannot be sent in an HTTP header: use ASCII characters without spaces.")
    # A key without a name is named by its digest, which does not reveal it.
    return name or f"key-{_digest(key).hex()[:8]}", key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _secret(settings: Settings) -> bytes:
    """Return the signing secret, created at the first start and shared by all workers."""
    file = settings.resolve(settings.state_dir) / "url_secret"
    try:
        if not file.exists():
            content = secrets.token_bytes(SECRET_BYTES)
            with (
                written_aside(file.parent, content, prefix=file.name, private=True) as aside,
                # Another worker was faster.
                contextlib.suppress(FileExistsError),
            ):
                move_to_new(aside, file)
        secret = file.read_bytes()
    except OSError as error:
        raise SystemExit(f"STATE_DIR={settings.state_dir} cannot keep url_secret: {error.strerror}.") from None
    if len(secret) != SECRET_BYTES:
        # An empty or short secret could be guessed.
        raise SystemExit(f"STATE_DIR={settings.state_dir} has a damaged url_secret: delete it and start again.")
    return secret
