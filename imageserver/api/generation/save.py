"""Keep generated images in the output folder, and name the URLs that serve them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from flask import request, url_for

from imageserver.api.generation.gallery_items import record
from imageserver.api.generation.run import GenerationResult
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.outputs.naming import file_stem


def save_all(service: Services, result: GenerationResult) -> list[str]:
    """Save every file under the documented name and return the names; raises StorageFull, StorageUnavailable."""
    now = datetime.now().astimezone()
    names, extension = [], result.request.output_options.extension
    for index, data in enumerate(result.files):
        stem = file_stem(now, result.request.number, index if len(result.files) > 1 else None)
        names.append(service.storage_threads.run(service.outputs.save, data, stem=stem, extension=extension))
    record(service, result, names)
    return names


def shown_paths(service: Services, names: Sequence[str]) -> list[str]:
    """Return the paths of saved files for clients: where OUTPUT_URL or an absolute OUTPUT_DIR is, is not theirs."""
    folder, url = service.settings.output_dir, service.settings.output_url
    if url:
        shown = PurePosixPath(url).name
    else:
        shown = folder.name if folder.is_absolute() else folder.as_posix()
    return [f"{shown}/{name}" for name in names]


def urls_of(names: Sequence[str]) -> list[str]:
    """Return the absolute URLs of saved files; clients such as Open WebUI fail on relative ones.

    Where keys are required, an address is signed: whoever has it may open it, also in an <img>.
    """
    signer, root = services().url_signer, services().links.root()
    queries: list[dict[str, Any]] = [signer.sign(name) if signer else {} for name in names]
    addresses = [url_for("native.image", name=name, **query) for name, query in zip(names, queries, strict=True)]
    # The root has the path under which a proxy serves this server.
    return [root + address.removeprefix(request.script_root) for address in addresses]
