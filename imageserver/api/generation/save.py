"""Keep a delivery's files in the output folder, and name the URLs they are answered at."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from flask import url_for

from imageserver.api.generation.run import GenerationRequest, GenerationResult
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.outputs.folder import file_stem


def save_all(service: Services, order: GenerationRequest, delivery: GenerationResult) -> list[Path]:
    """Save every file under the documented name; raises StorageFull."""
    now = datetime.now().astimezone()
    paths = []
    for index, data in enumerate(delivery.files):
        stem = file_stem(now, order.number, index if len(delivery.files) > 1 else None)
        paths.append(service.thread_pool.run(service.outputs.save, data, stem=stem, extension=order.finish.extension))
    return paths


def urls_of(paths: Sequence[Path]) -> list[str]:
    """Return the absolute URLs of saved files; clients such as Open WebUI fail on relative ones.

    Where keys are asked for, an address is signed: whoever was given it may open it, in an <img> too.
    """
    keyring = services().keyring
    return [
        url_for("native.image", name=path.name, _external=True, sig=keyring.sign(path.name) if keyring.locked else None)
        for path in paths
    ]
