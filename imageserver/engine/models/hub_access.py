"""Whether the hub answers from which a model would be fetched."""

import threading

import requests

from imageserver.protocol.finding import Finding
from imageserver.settings import Settings

MAX_SECONDS = 3.0


def check_hub(settings: Settings, hub: str, *, needed: bool) -> Finding:
    """Return whether any answer comes within three seconds; without one it is a problem if the hub is `needed`."""
    if settings.offline:
        return Finding("hub", "ok", "OFFLINE=1: no hub is asked.")
    address = _address(settings, hub)
    failures: list[str] = ["no answer"]

    def ask() -> None:
        try:
            # Any answer will do: what a hub says about its front page is not the question.
            requests.head(address, timeout=MAX_SECONDS).close()
            failures.clear()
        except requests.RequestException as error:
            failures[:] = [type(error).__name__]

    # In a thread, because the look-up of a name obeys no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    if not failures:
        return Finding("hub", "ok", f"{address} answers.")
    sentence = f"{address} did not answer within {MAX_SECONDS:g} s ({failures[0]})"
    if not needed:
        return Finding("hub", "warning", f"{sentence}; the model is on the disk, so OFFLINE=1 serves it without.")
    return Finding("hub", "problem", f"{sentence}; check the network or a proxy, or set MODEL=demo.")


def _address(settings: Settings, hub: str) -> str:
    if hub == "huggingface":
        return settings.hf_endpoint
    from modelscope.hub.utils.utils import get_endpoint

    return str(get_endpoint())
