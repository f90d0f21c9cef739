"""Secrets of the server in STATE_DIR: created at the first start, shared by all workers, for its user alone."""

import contextlib
import secrets

from imageserver.atomic_write import move_to_new, written_aside
from imageserver.settings import Settings

SECRET_BYTES = 32
PROVENANCE_SECRET, URL_SECRET = "provenance_secret", "url_secret"


def read_secret(settings: Settings, name: str) -> bytes:
    """Return the secret in the file of that name, created where there is none; raises SystemExit."""
    file = settings.resolve(settings.state_dir) / name
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
        raise SystemExit(f"STATE_DIR={settings.state_dir} cannot keep {name}: {error.strerror}.") from None
    if len(secret) != SECRET_BYTES:
        # An empty or short secret could be guessed.
        raise SystemExit(f"STATE_DIR={settings.state_dir} has a damaged {name}: delete it and start again.")
    return secret
