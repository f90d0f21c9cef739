"""What a hub says of a component before it is downloaded: its configuration, and the sizes of its files."""

import contextlib
import functools
import json
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageserver.engine.downloads.file_choice import component_files
from imageserver.engine.downloads.hubs import open_hub, stored_bytes
from imageserver.engine.downloads.network_failures import with_retries
from imageserver.engine.downloads.progress import ProgressMeter
from imageserver.engine.downloads.unavailable import ModelUnavailable, Unreachable
from imageserver.registry import Hub
from imageserver.settings import Settings

CONFIG = "config.json"
# Without an answer nothing is known; the download will wait for the network, and say so.
MAX_SECONDS = 20.0


def announced(
    component: str, settings: Settings, hub: Hub | None, *, otherwise: str
) -> tuple[Mapping[str, Any], int] | None:
    """Return the configuration, and the bytes that are still to be fetched; None where no hub may be asked or answers.

    Nothing stays on the disk. Raises ModelUnavailable where the hub refuses; `otherwise` is what to do then.
    """
    if settings.offline:
        return None
    name = hub or settings.model_source
    client = open_hub(name, settings)
    answers: list[tuple[Mapping[str, Any], int] | ModelUnavailable] = []

    def ask() -> None:
        try:
            config, size = with_retries(
                lambda: _ask(component, name, settings.hf_endpoint), component, client.title,
                lambda *_: None, otherwise=otherwise, pauses=(),
            )  # fmt: skip
            answers.append((config, max(0, size - stored_bytes(client, component))))
        except Unreachable:
            pass
        except ModelUnavailable as error:
            answers.append(error)

    # In a thread, because the look-up of a name obeys no timeout.
    thread = threading.Thread(target=ask, name="announced", daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    answer = answers[0] if answers else None
    if isinstance(answer, ModelUnavailable):
        raise answer
    return answer


@functools.lru_cache(maxsize=16)
def _ask(component: str, hub: Hub, endpoint: str) -> tuple[Mapping[str, Any], int]:
    """Return the configuration and the bytes of all files to load; raises what the hub's library raises."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        client = open_hub(hub, Settings(_env_file=None, models_dir=Path(folder), hf_endpoint=endpoint))
        sizes = client.sizes(component, None)
        if CONFIG not in sizes:
            raise ModelUnavailable(f"{component} has no config.json, so it is not a component in diffusers' format.")
        meter = ProgressMeter(component, sizes[CONFIG], report=lambda *_: None)
        config: dict[str, Any] = {}
        text = (client.fetch(component, None, {CONFIG}, meter) / CONFIG).read_bytes()
        with contextlib.suppress(ValueError, TypeError):
            config = dict(json.loads(text))
        return config, sum(sizes[name] for name in component_files(sizes, present=()))
