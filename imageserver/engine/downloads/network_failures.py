"""What the network does to a download: it is tried again where that may help, and explained where it does not."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import requests

from imageserver.engine.downloads.progress import Report
from imageserver.engine.downloads.unavailable import DownloadFailed, ModelUnavailable, Unreachable

# Seconds before a download is tried again, from where it stopped; connections return within minutes or not at all.
RETRY_SECONDS = (2.0, 10.0, 30.0, 120.0)

T = TypeVar("T")


def with_retries(
    fetch: Callable[[], T], model: str, hub: str, report: Report, *,
    otherwise: str, pauses: Iterable[float] | None = None,
) -> T:  # fmt: skip
    """Return what `fetch` returns; retries after a network failure, where hub libraries resume.

    Raises Unreachable where that did not help, DownloadFailed for any other failure of the hub; their sentences end
    with `otherwise`, what to do without the files. `pauses` are the seconds before each further try.
    """
    remaining = iter(RETRY_SECONDS if pauses is None else pauses)
    while True:
        try:
            return fetch()
        except ModelUnavailable:
            raise
        except Exception as error:
            passing = _may_recover(error)
            pause = next(remaining, None) if passing else None
            if pause is None:
                kind = Unreachable if passing else DownloadFailed
                raise kind(
                    f"{model} could not be fetched from {hub} ({_reason(error)}); check the id and the network, "
                    f"or {otherwise}."
                ) from error
            reason = _reason(error)
        report("downloading", f"{model}: {hub} cannot be reached ({reason}); tried again in {pause:g} s.", None)
        time.sleep(pause)


def _may_recover(error: Exception) -> bool:
    """Return whether a failure of the network or the hub may pass, unlike a response such as 404."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status == 429 or status >= 500
    kinds = (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout, LocalEntryNotFoundError)
    # By its name: Hugging Face's library has changed its HTTP library before.
    return isinstance(error, kinds) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no reason given'}"
