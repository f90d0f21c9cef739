"""Whether the hub answers from which a model would be fetched."""

import threading
from typing import Literal

import requests

from imageserver.protocol.finding import Finding
from imageserver.settings import Settings

MAX_SECONDS = 3.0


def check_hub(settings: Settings, hub: str, *, otherwise: Literal["warning", "problem"], advice: str) -> Finding:
    """Return whether any answer comes within three seconds, `otherwise` a finding with the advice."""
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
    return Finding("hub", otherwise, f"{sentence}; {advice}.")


def _address(settings: Settings, hub: str) -> str:
    if hub == "huggingface":
        return settings.hf_endpoint
    from modelscope.hub.utils.utils import get_endpoint

    return str(get_endpoint())
