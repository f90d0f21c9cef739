"""Find the folder of a model: on the disk where everything that will be loaded is there, otherwise from its hub."""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver.engine.downloads.disk_space import free_bytes, needed_for
from imageserver.engine.downloads.file_choice import INDEX, component_files
from imageserver.engine.downloads.hubs import HubClient, open_hub, stored_bytes
from imageserver.engine.downloads.listing import Listing, listing_file, missing_bytes, read_listing
from imageserver.engine.downloads.network_failures import with_retries
from imageserver.engine.downloads.progress import ProgressMeter, Report
from imageserver.engine.downloads.unavailable import ModelUnavailable, NotOnDisk, Unreachable
from imageserver.registry import Hub
from imageserver.settings import PACKAGE_DIR, Settings

DEMO_FOLDER = PACKAGE_DIR / "demo_model"
# What a model can do without.
OPTIONAL = ("CONTROLNET", "SAFETY_CHECKER")

# Returns the files to load: by the sizes of all files, those on the disk, and the pipeline's index where there is one.
FileChoice = Callable[[Mapping[str, int], Collection[str], Mapping[str, Any]], Collection[str]]


def _all_of_a_component(files: Mapping[str, int], present: Collection[str], _: Mapping[str, Any]) -> Collection[str]:
    return component_files(files, present)


def locate(
    model: str,
    settings: Settings,
    report: Report,
    *,
    setting: str = "MODEL",
    hub: Hub | None = None,
    revision: str | None = None,
    wanted: FileChoice = _all_of_a_component,
    further: int = 0,
) -> Path:
    """Return the folder with the model's files, downloading those `wanted` where that is allowed.

    `report` is called with (phase, sentence, fraction); `setting` is where the name came from. `hub` defaults to
    MODEL_SOURCE, `revision` to the newest there at the time of the first download. A download begins only where the
    disk has the room for it and for `further` bytes that will come after it. Raises ModelUnavailable.
    """
    if model == "demo":
        return DEMO_FOLDER
    folder = settings.resolve(Path(model).expanduser())
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelUnavailable(f"{setting}={model} is neither a folder nor an id like Qwen/Qwen-Image.")
    hub_client = open_hub(hub or settings.model_source, settings)
    search = _Search(model, revision, hub_client, wanted, settings, report, setting, further)
    return search.on_disk() if settings.offline else search.anywhere()


def otherwise(setting: str, settings: Settings) -> str:
    """Return what to do without the files that a setting names."""
    if setting in OPTIONAL:
        return f"leave {setting} empty"
    given = {"CONTROLNET": settings.controlnet, "TRANSFORMER_FILE": settings.transformer_file}
    # They are for the model that is missing.
    empty = " and ".join(name for name, value in given.items() if value)
    return f"set MODEL=demo and leave {empty} empty" if empty else "set MODEL=demo"


@dataclass(frozen=True)
class _Search:
    """One model that is looked for on the disk and on a hub."""

    model: str
    revision: str | None
    hub: HubClient
    wanted: FileChoice
    settings: Settings
    report: Report
    setting: str
    further: int

    @property
    def _otherwise(self) -> str:
        return otherwise(self.setting, self.settings)

    @property
    def _file(self) -> Path:
        return listing_file(self.hub.folder, self.hub.name, self.model, self.revision)

    def on_disk(self) -> Path:
        """Return the folder without asking the hub; raises NotOnDisk where files are missing."""
        listing = read_listing(self._file)
        if listing is not None:
            missing = self._names(listing) - listing.present()
            if not missing:
                return listing.folder
            raise NotOnDisk(
                f"OFFLINE=1 and {len(missing)} files of {self.model} are not in {self.settings.models_dir}, such as "
                f"{min(missing)}: start once without OFFLINE to download them, or {self._otherwise}."
            )
        try:
            return self.hub.cached(self.model, self.revision)
        except Exception as error:
            raise NotOnDisk(
                f"OFFLINE=1 and {self.model} is not in {self.settings.models_dir}: start once without OFFLINE to "
                f"download it, or {self._otherwise}."
            ) from error

    def anywhere(self) -> Path:
        """Return the folder, downloading what is missing of it; the hub is asked for nothing else."""
        listing = read_listing(self._file)
        if listing is not None and self._names(listing) <= listing.present():
            return listing.folder
        try:
            return with_retries(self._download, self.model, self.hub.title, self.report, otherwise=self._otherwise)
        except Unreachable:
            # Of a download without a listing it is not known whether it is whole; loading it shows that.
            if listing is None:
                with contextlib.suppress(Exception):
                    folder = self.hub.cached(self.model, self.revision)
                    self.report("downloading", f"{self.model}: the files on the disk are used.", None)
                    return folder
            raise

    def _download(self) -> Path:
        sizes = self.hub.sizes(self.model, self.revision)
        # It says what else is needed, and the library says where that is on the disk.
        first = next((name for name in (INDEX, "config.json") if name in sizes), None)
        if first is None:
            raise ModelUnavailable(
                f"{self.model} has no model_index.json and no config.json, so it is not a diffusers model."
            )
        unmetered = ProgressMeter(self.model, sizes[first], report=lambda *_: None)
        listing = Listing(sizes, self.hub.fetch(self.model, self.revision, {first}, unmetered))
        names, present = self._names(listing), listing.present()
        missing = missing_bytes(sizes, names, present)
        if missing:
            # A download that was broken off goes on where it stopped.
            unfinished = stored_bytes(self.hub, self.model) - sum(sizes[name] for name in present)
            self._refuse_if_disk_is_full(missing - max(0, unfinished))
            size = f"{missing / 1e9:.2f} GB"
            self.report("downloading", f"{self.model}: {size} are being fetched from {self.hub.title}.", None)
        meter = ProgressMeter(self.model, missing, self.report)
        listing = Listing(sizes, self.hub.fetch(self.model, self.revision, names, meter))
        listing.write(self._file)
        return listing.folder

    def _names(self, listing: Listing) -> set[str]:
        """Return the files that are wanted of those in a listing."""
        index = {}
        if INDEX in listing.files:
            with contextlib.suppress(OSError, ValueError):
                index = json.loads((listing.folder / INDEX).read_text(encoding="utf-8"))
        return set(self.wanted(listing.files, listing.present(), index))

    def _refuse_if_disk_is_full(self, missing: int) -> None:
        free, needed = free_bytes(self.hub.folder), needed_for(missing + self.further)
        if free < needed:
            controls = f", and one of {self.further / 1e9:.1f} GB for CONTROLNET," if self.further else ""
            way_out = self._otherwise if self.setting in OPTIONAL else "choose a smaller model"
            raise ModelUnavailable(
                f"{self.model} needs {needed / 1e9:.1f} GB for its download of {missing / 1e9:.1f} GB{controls} "
                f"and {self.settings.models_dir} has {free / 1e9:.1f} GB free: set MODELS_DIR to another disk, "
                f"free some space, or {way_out}."
            )
