"""The models in the folder for downloads: how much of each is there, and how one is removed."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imageserver.engine.downloads.hubs import open_hub
from imageserver.engine.downloads.listing import listing_file
from imageserver.engine.downloads.progress import bytes_in
from imageserver.engine.downloads.unavailable import ModelUnavailable
from imageserver.registry import Hub, ModelEntry
from imageserver.settings import Settings

HUBS: tuple[Hub, ...] = ("modelscope", "huggingface")
# Where the present versions of the hubs' libraries keep models: models--Qwen--Qwen-Image, models/Qwen--Qwen-Image.
LAYOUTS = ("models--*--*", "models/*--*")
# An owner and a name as hubs have them; the folders of the layouts themselves are no owners.
HUB_ID = re.compile(r"(?!models/|hub/|models--)\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class StoredModel:
    """A model that MODELS_FILE names or that was downloaded; `stored_bytes` counts unfinished downloads too."""

    name: str
    source: str
    stored_bytes: int
    download_gb: float | None
    licence: str


def stored_models(settings: Settings) -> list[StoredModel]:
    """Return the named models in their order, and then what else was downloaded."""
    named = dict(settings.registry())
    sources = {entry.source for entry in named.values()}
    unnamed = [source for source in _downloaded(settings) if source not in sources]
    entries = named | {source: ModelEntry(source=source) for source in unnamed}
    return [
        StoredModel(
            name, entry.source, sum(map(bytes_in, _folders(entry.source, settings))), entry.download_gb, entry.licence
        )
        for name, entry in entries.items()
    ]


def remove(name: str, settings: Settings) -> int:
    """Remove what was downloaded of a model, and return its bytes; raises ModelUnavailable where there is nothing."""
    entry = settings.registry().get(name)
    source = entry.source if entry else name
    folders = [folder for folder in _folders(source, settings) if folder.is_dir()]
    if not folders:
        raise ModelUnavailable(f"Nothing of {name} was downloaded to {settings.models_dir}.")
    size = sum(map(bytes_in, folders))
    for hub in HUBS:
        # Before the files: a start that finds it without them would take the model for damaged.
        revision = entry.revision_on(hub) if entry else None
        listing_file(settings.resolve(settings.models_dir), hub, source, revision).unlink(missing_ok=True)
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise ModelUnavailable(f"{error.filename} cannot be removed: {error.strerror}.") from error
    return size


def _folders(source: str, settings: Settings) -> list[Path]:
    """Return where both hubs' libraries keep a model; nowhere for the demo model and a folder of the user's."""
    if not HUB_ID.fullmatch(source) or settings.resolve(Path(source)).is_dir():
        return []
    folders = [folder for hub in HUBS for folder in open_hub(hub, settings).storage(source)]
    return list(dict.fromkeys(folders))


def _downloaded(settings: Settings) -> Iterator[str]:
    """Yield the ids of the models in the folder for downloads."""
    folder = settings.resolve(settings.models_dir)
    for layout in LAYOUTS:
        for found in sorted(folder.glob(layout)):
            owner, _, name = found.name.removeprefix("models--").partition("--")
            if owner and name:
                yield f"{owner}/{name}"
