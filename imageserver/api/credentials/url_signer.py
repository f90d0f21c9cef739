"""Signs the addresses of saved images, with which they open without a key, for ever or for URL_TTL seconds."""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Mapping

from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.api.credentials.secret_file import URL_SECRET
from imageserver.settings import Settings

SIGNATURE_CHARACTERS = 32
# Seconds since 1970 with up to 11 digits last until the year 5138.
MAX_MOMENT_DIGITS = 11
# Addresses change so often while one of them is valid.
STEPS_PER_TTL = 10


class UrlSigner:
    """Signs names with a secret; `ttl` in seconds, 0 for signatures without an end."""

    def __init__(self, secret: bytes, *, ttl: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._ttl = ttl
        self._clock = clock

    def sign(self, name: str) -> dict[str, str]:
        """Return the query with which the address of a saved image needs no key."""
        until = str(self._end()) if self._ttl else ""
        return ({"until": until} if until else {}) | {"sig": self._signature(name, until)}

    def opens(self, name: str, query: Mapping[str, str]) -> bool:
        """Return whether a query opens an image; one that was signed without an end opens it whatever `ttl` is now."""
        until = query.get("until", "")
        if not hmac.compare_digest(self._signature(name, until).encode(), query.get("sig", "").encode()):
            return False
        return not until or (len(until) <= MAX_MOMENT_DIGITS and self._clock() < int(until))

    def _end(self) -> int:
        """Return a moment that is the same for a tenth of `ttl`, so that browsers find an address again."""
        step = max(1, round(self._ttl / STEPS_PER_TTL))
        return math.ceil((self._clock() + self._ttl) / step) * step

    def _signature(self, name: str, until: str) -> str:
        # No name of an image has a line break, so that none runs into a moment.
        text = f"{name}\n{until}" if until else name
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_CHARACTERS]


def read_signer(settings: Settings, secrets: AcceptedSecrets) -> UrlSigner | None:
    """Return the signer that the settings describe, None where no key is required; raises SystemExit."""
    return UrlSigner(secrets.read(settings, URL_SECRET), ttl=settings.url_ttl) if settings.asks_for_keys else None
