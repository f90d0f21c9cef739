"""The two hubs that models come from: their listings, and their libraries' downloads, which resume."""

import glob
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from imageserver.engine.downloads.progress import ProgressMeter, bytes_in, growth_of
from imageserver.registry import Hub
from imageserver.settings import Settings


class HubClient(Protocol):
    """One hub; `folder` is where its library keeps models. Its methods raise what the library raises."""

    name: Hub
    title: str
    folder: Path

    def storage(self, model: str) -> Sequence[Path]:
        """Return where the library keeps a model's files, unfinished ones included."""

    def sizes(self, model: str, revision: str | None) -> Mapping[str, int]:
        """Return the bytes of every file of a model."""

    def cached(self, model: str, revision: str | None) -> Path:
        """Return the folder of a model that the library has on the disk, without the network."""

    def fetch(self, model: str, revision: str | None, names: Collection[str], meter: ProgressMeter) -> Path:
        """Download the files that are not on the disk yet, and return the model's folder."""


class HuggingFace:
    """The Hugging Face Hub, or a mirror of it (HF_ENDPOINT)."""

    name: Hub = "huggingface"
    title = "Hugging Face"

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.resolve(settings.models_dir)
        self._endpoint = settings.hf_endpoint

    def storage(self, model: str) -> Sequence[Path]:
        return [self.folder / f"models--{model.replace('/', '--')}"]

    def sizes(self, model: str, revision: str | None) -> Mapping[str, int]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = HfApi(endpoint=self._endpoint).list_repo_tree(model, recursive=True, revision=revision)
        return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}

    def cached(self, model: str, revision: str | None) -> Path:
        from huggingface_hub import snapshot_download

        return Path(str(snapshot_download(model, cache_dir=str(self.folder), revision=revision, local_files_only=True)))

    def fetch(self, model: str, revision: str | None, names: Collection[str], meter: ProgressMeter) -> Path:
        from huggingface_hub import snapshot_download

        with growth_of(self.storage(model)[0], meter):
            return Path(
                str(
                    snapshot_download(
                        model, cache_dir=str(self.folder), revision=revision, endpoint=self._endpoint,
                        allow_patterns=_patterns(names),
                    )
                )
            )  # fmt: skip


class ModelScope:
    """ModelScope."""

    name: Hub = "modelscope"
    title = "ModelScope"

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.resolve(settings.models_dir)

    def storage(self, model: str) -> Sequence[Path]:
        """Return the folders of the library's present version and of earlier ones."""
        owner, name = model.split("/")
        safe = name.replace(".", "___")
        layouts = (f"models/{owner}--{name}", f"models/{owner}/{safe}", f"hub/models/{owner}/{safe}", f"{owner}/{safe}")
        return [self.folder / layout for layout in layouts]

    def sizes(self, model: str, revision: str | None) -> Mapping[str, int]:
        from modelscope import HubApi

        files = HubApi().get_model_files(model, revision=revision, recursive=True)
        return {str(file["Path"]): int(file["Size"] or 0) for file in files if file.get("Type") != "tree"}

    def cached(self, model: str, revision: str | None) -> Path:
        # Its import takes seconds, which a model that was never fetched need not cost.
        if not any(folder.is_dir() for folder in self.storage(model)):
            raise FileNotFoundError(model)
        from modelscope import snapshot_download

        return Path(snapshot_download(model, revision=revision, cache_dir=str(self.folder), local_files_only=True))

    def fetch(self, model: str, revision: str | None, names: Collection[str], meter: ProgressMeter) -> Path:
        from modelscope import snapshot_download
        from modelscope.hub.callback import ProgressCallback

        class Metered(ProgressCallback):  # type: ignore[misc]
            def update(self, size: int) -> None:
                meter.add(size)

        return Path(
            snapshot_download(
                model, revision=revision, cache_dir=str(self.folder), allow_patterns=_patterns(names),
                progress_callbacks=[Metered],
            )
        )  # fmt: skip


def open_hub(name: Hub, settings: Settings) -> HubClient:
    return ModelScope(settings) if name == "modelscope" else HuggingFace(settings)


def _patterns(names: Collection[str]) -> list[str]:
    """Return patterns that match these names alone."""
    return [glob.escape(name) for name in sorted(names)]


def stored_bytes(hub: HubClient, model: str) -> int:
    """Return what a model takes on the disk already, unfinished downloads included."""
    return sum(map(bytes_in, hub.storage(model)))
