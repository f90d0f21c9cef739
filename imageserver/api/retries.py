"""What a client's headers say about its patience and its retries."""

from werkzeug.datastructures import Headers

from imageserver.errors import InvalidParameter

MAX_KEY = 255


def patience_of(headers: Headers) -> float | None:
    """Return the seconds that the client will wait, as the OpenAI SDK tells them; None where it says nothing."""
    try:
        seconds = float(headers.get("X-Stainless-Read-Timeout", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def idempotency_key_of(headers: Headers) -> str | None:
    """Return the Idempotency-Key; raises InvalidParameter when it is empty or too long."""
    key = headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        raise InvalidParameter(f"Idempotency-Key must have 1 to {MAX_KEY} characters.", param="Idempotency-Key")
    return key
