"""Keep generated images in the output folder, and name the URLs that serve them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import request, url_for

from imageserver.api.generation.run import GenerationResult
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.outputs.naming import file_stem


def save_all(service: Services, result: GenerationResult) -> list[Path]:
    """Save every file under the documented name; raises StorageFull."""
    now = datetime.now().astimezone()
    paths, extension = [], result.request.output_options.extension
    for index, data in enumerate(result.files):
        stem = file_stem(now, result.request.number, index if len(result.files) > 1 else None)
        paths.append(service.thread_pool.run(service.outputs.save, data, stem=stem, extension=extension))
    return paths


def shown_paths(service: Services, paths: Sequence[Path]) -> list[str]:
    """Return the paths of saved files for clients: where an absolute OUTPUT_DIR is on the machine is not theirs."""
    folder = service.settings.output_dir
    shown = folder.name if folder.is_absolute() else folder.as_posix()
    return [f"{shown}/{path.name}" for path in paths]


def urls_of(paths: Sequence[Path]) -> list[str]:
    """Return the absolute URLs of saved files; clients such as Open WebUI fail on relative ones.

    Where keys are required, an address is signed: whoever has it may open it, also in an <img>.
    """
    signer, root = services().url_signer, services().links.root()
    queries: list[dict[str, Any]] = [signer.sign(path.name) if signer else {} for path in paths]
    addresses = [url_for("native.image", name=path.name, **query) for path, query in zip(paths, queries, strict=True)]
    # The root has the path under which a proxy serves this server.
    return [root + address.removeprefix(request.script_root) for address in addresses]
