"""The headers in which a client says how long it waits, and how often it has sent a request before."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

from imageserver.errors import InvalidParameter

MAX_KEY_LENGTH = 255
# The minimum pauses of the OpenAI SDK before each of its retries; two is their default number.
# Source: openai-python 3.52, `_base_client.py`, `_calculate_retry_timeout`.
MIN_RETRY_PAUSE_SECONDS = (0.375, 0.75)


@dataclass(frozen=True)
class Retry:
    """A request that its client's library may send again: the key of all its tries, and how many went before."""

    key: str
    count: int


def key_of_tries(client: str, path: str, content: Any, *images: bytes | None) -> str:
    """Return the key that a request and its repetitions share; the boundary of a form differs between them."""
    digest = hashlib.sha256(json.dumps([client, path, content]).encode())
    for image in images:
        digest.update(hashlib.sha256(image or b"").digest())
    return digest.hexdigest()


def patience_of(headers: Headers) -> float | None:
    """Return the seconds that the client waits, from the OpenAI SDK's header; None without one."""
    try:
        seconds = float(headers.get("X-Stainless-Read-Timeout", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def retry_count_of(headers: Headers) -> int | None:
    """Return how often the OpenAI SDK has sent this request before; None without its header."""
    text = headers.get("X-Stainless-Retry-Count", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def patience_of_all_tries(headers: Headers) -> float | None:
    """Return the seconds that a client waits in all its tries together; each try joins the one before it."""
    patience, pauses = patience_of(headers), MIN_RETRY_PAUSE_SECONDS[retry_count_of(headers) or 0 :]
    return None if patience is None else patience * (1 + len(pauses)) + sum(pauses)


def idempotency_key_of(headers: Headers) -> str | None:
    """Return the Idempotency-Key; raises InvalidParameter when it is empty or too long."""
    key = headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise InvalidParameter(f"Idempotency-Key must have 1 to {MAX_KEY_LENGTH} characters.", param="Idempotency-Key")
    return key
