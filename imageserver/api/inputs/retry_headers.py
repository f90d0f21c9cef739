"""What a client's headers say about its patience and its retries."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

from imageserver.errors import InvalidParameter

MAX_KEY = 255
# The least seconds that the OpenAI SDK pauses before each of its retries, unless its user wants more or fewer.
# Source: openai-python 3.52, `_base_client.py`, `_calculate_retry_timeout`.
SDK_RETRY_SECONDS = (0.375, 0.75)


@dataclass(frozen=True)
class Retry:
    """A request that its client's library may send again: the key of all its tries, and how many went before."""

    key: str
    count: int


def key_of_tries(client: str, path: str, content: Any, *images: bytes | None) -> str:
    """Return what a request and its repetitions have in common; the boundary of a form differs between them."""
    digest = hashlib.sha256(json.dumps([client, path, content]).encode())
    for image in images:
        digest.update(hashlib.sha256(image or b"").digest())
    return digest.hexdigest()


def patience_of(headers: Headers) -> float | None:
    """Return the seconds that the client will wait, as the OpenAI SDK tells them; None where it says nothing."""
    try:
        seconds = float(headers.get("X-Stainless-Read-Timeout", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def retry_count_of(headers: Headers) -> int | None:
    """Return how often the OpenAI SDK has sent this request before; None where it says nothing."""
    text = headers.get("X-Stainless-Retry-Count", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def patience_of_all_tries(headers: Headers) -> float | None:
    """Return the seconds that a client will wait whose retries join what they repeat."""
    patience, pauses = patience_of(headers), SDK_RETRY_SECONDS[retry_count_of(headers) or 0 :]
    return None if patience is None else patience * (1 + len(pauses)) + sum(pauses)


def idempotency_key_of(headers: Headers) -> str | None:
    """Return the Idempotency-Key; raises InvalidParameter when it is empty or too long."""
    key = headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        raise InvalidParameter(f"Idempotency-Key must have 1 to {MAX_KEY} characters.", param="Idempotency-Key")
    return key
