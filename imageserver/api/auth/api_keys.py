"""The keys of a server by their names, and its signature for addresses; keys are compared in constant time."""

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
# Names stand in logs and answers.
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
SECRET_BYTES = 32
SIGNATURE_LETTERS = 32


class Keyring:
    """The keys of a server by their names; empty where none are asked for."""

    def __init__(self, keys: Mapping[str, str], secret: bytes, *, locked: bool) -> None:
        """Take keys by name, the secret that addresses are signed with, and whether a key is asked for."""
        self._digests = {name: _digest(key) for name, key in keys.items()}
        self._secret = secret
        self.locked = locked

    def name_of(self, key: str) -> str | None:
        """Return whose key this is; every key is compared, so that the time tells nothing."""
        digest, found = _digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def sign(self, name: str) -> str:
        """Return the signature that opens a saved image's address to whoever was given it."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_LETTERS]

    def is_signed(self, name: str, signature: str) -> bool:
        """Return whether the signature is that of the name."""
        return hmac.compare_digest(self.sign(name).encode(), signature.encode())


def read_keyring(settings: Settings) -> Keyring:
    """Return the keys of the settings; raises SystemExit with one sentence that holds no key."""
    locked = settings.asks_for_keys
    return Keyring(read_keys(settings), _secret(settings) if locked else b"", locked=locked)


def read_keys(settings: Settings) -> dict[str, str]:
    """Return the keys of the settings by their names; raises SystemExit with one sentence that holds no key."""
    keys: dict[str, str] = {}
    for place, entry in _entries(settings):
        name, key = _parsed(place, entry)
        if key in keys.values():
            raise SystemExit(f"{place} is there twice: every client has its own.")
        if name in keys:
            raise SystemExit(f"{place} has the name of another key: every key has its own.")
        keys[name] = key
    return keys


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every entry with the words that say where it stands."""
    if settings.api_keys:
        for number, entry in enumerate(settings.api_keys.get_secret_value().split(","), start=1):
            yield f"Key {number} of API_KEYS", entry.strip()
    file = settings.api_keys_file
    if file is None:
        return
    try:
        # Some editors write a mark in front that nobody sees.
        lines = settings.resolve(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SystemExit(f"API_KEYS_FILE={file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SystemExit(f"API_KEYS_FILE={file} is no text in UTF-8.") from None
    stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    entries = [(number, line) for number, line in stripped if line and not line.startswith("#")]
    if not entries:
        # Whoever names a file wants the server locked.
        raise SystemExit(f"API_KEYS_FILE={file} holds no key; to ask for none, do not set it.")
    for number, line in entries:
        yield f"The key in line {number} of API_KEYS_FILE", line


def _parsed(place: str, entry: str) -> tuple[str, str]:
    """Return the name and the key of an entry."""
    if not entry:
        raise SystemExit(f"{place} is empty: there is a comma too many.")
    named = ":" in entry
    name, key = (part.strip() for part in entry.split(":", 1)) if named else ("", entry)
    if named and not NAME.fullmatch(name):
        raise SystemExit(f"{place} has a wrong name: 1 to 64 letters, digits and . _ @ - before the colon.")
    if len(key) < MIN_KEY_CHARACTERS:
        raise SystemExit(f"{place} is too short: a key has at least {MIN_KEY_CHARACTERS} characters.")
    if not KEY.fullmatch(key):
        raise SystemExit(f"{place} does not fit a header of HTTP: a key is ASCII without spaces.")
    # A key without a name is known by what cannot be turned back into it.
    return name or f"key-{_digest(key).hex()[:8]}", key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _secret(settings: Settings) -> bytes:
    """Return the secret of this server, made at its first start and shared by all workers."""
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
        # Whoever knows it can sign, and everybody knows an empty one.
        raise SystemExit(f"STATE_DIR={settings.state_dir} has a damaged url_secret: delete it to have a new one made.")
    return secret
