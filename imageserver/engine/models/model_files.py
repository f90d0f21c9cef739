"""The files of a model: which of them will be loaded, where they are, and the family that they belong to."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.devices import number_formats
from imageserver.engine.downloads import ModelUnavailable, NotOnDisk, Report, locate
from imageserver.engine.downloads.file_choice import INDEX, pipeline_files
from imageserver.engine.downloads.search import FileChoice
from imageserver.engine.families import FAMILIES, family_of, published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models.candidates import entry_of
from imageserver.engine.models.weight_files.checkpoint import SUFFIX, Checkpoint, read_checkpoint
from imageserver.engine.runner import controlnet
from imageserver.engine.runner.controlnet import KnownNet
from imageserver.registry import ModelEntry
from imageserver.settings import Settings


def locate_pipeline(
    name: str, entry: ModelEntry, settings: Settings, device: torch.device, report: Report, *,
    setting: str = "MODEL", nets: Sequence[KnownNet] = (),
) -> Path:  # fmt: skip
    """Return the folder of a model, downloading what will be loaded of it; `setting` is where its name came from.

    Raises ModelUnavailable before anything large is downloaded for a model that cannot be served, or not with `nets`.
    """
    return locate(
        entry.source, settings, report,
        setting=setting, hub=entry.hub, revision=entry.revision_on(entry.hub or settings.model_source),
        wanted=_files_to_load(name, entry, settings, device, nets), further=sum(net.download for net in nets),
    )  # fmt: skip


def find_checkpoint(entry: ModelEntry, settings: Settings) -> Checkpoint | None:
    """Return the single file that a source names, None where it is an id or a folder; raises ModelUnavailable."""
    file = settings.resolve(Path(entry.source).expanduser())
    return read_checkpoint(file) if file.suffix.lower() == SUFFIX and file.is_file() else None


def locate_configuration(checkpoint: Checkpoint, settings: Settings, report: Report) -> Path:
    """Return a folder with the configuration and the tokenizers that a single file needs; raises ModelUnavailable.

    They are those of the model that it was trained from, a few megabytes, and are downloaded once.
    """
    entry = entry_of(checkpoint.base, settings)
    assert entry is not None, checkpoint.base
    try:
        return locate(
            entry.source, settings, report,
            hub=entry.hub, revision=entry.revision_on(entry.hub or settings.model_source), wanted=_configuration,
        )  # fmt: skip
    except NotOnDisk as error:
        raise NotOnDisk(
            f"MODEL={checkpoint.file.name} needs the configuration of {entry.source}, a few megabytes that are not in "
            f"{settings.models_dir}: start once without OFFLINE to download them."
        ) from error


def is_on_disk(name: str, entry: ModelEntry, settings: Settings, device: torch.device) -> bool:
    """Return whether a model can be loaded without a download."""
    offline = settings.model_copy(update={"offline": True})
    try:
        checkpoint = find_checkpoint(entry, settings)
        if checkpoint is not None:
            locate_configuration(checkpoint, offline, lambda phase, sentence, fraction: None)
            return True
        locate_pipeline(name, entry, offline, device, lambda phase, sentence, fraction: None)
    except ModelUnavailable:
        return False
    return True


def family_in(folder: Path, model: str, entry: ModelEntry) -> Family:
    """Return the family of a folder; raises ModelUnavailable for none, or another than its entry says."""
    try:
        return _family_of(json.loads((folder / INDEX).read_text()), model, entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{model} has no readable model_index.json, so it is not a diffusers folder.") from error


def number_format(
    entry: ModelEntry, settings: Settings, device: torch.device, family: Family
) -> tuple[torch.dtype, str]:
    """Return the weights' number format and, where it is not what is usual on the device, a sentence that says why."""
    wanted = entry.dtype or "auto" if settings.dtype == "auto" else settings.dtype
    if wanted != "auto":
        return getattr(torch, wanted), ""
    return number_formats.choose(device, float16=family.float16)


def _configuration(files: Mapping[str, int], present: Collection[str], index: Mapping[str, Any]) -> Collection[str]:
    """Return the files of a pipeline that are no weights."""
    if "_class_name" not in index:
        return {INDEX}
    return pipeline_files(files, present, index, left_out=(), replaced=index.keys(), half=False)


def _files_to_load(
    model: str, entry: ModelEntry, settings: Settings, device: torch.device, nets: Sequence[KnownNet]
) -> FileChoice:
    """Return the choice of a pipeline's files, which refuses a model that cannot be served before its download."""

    def wanted(files: Mapping[str, int], present: Collection[str], index: Mapping[str, Any]) -> Collection[str]:
        if "_class_name" not in index:
            return {INDEX}
        family = _family_of(index, model, entry)
        if nets:
            controlnet.refuse(settings, family, nets)
        dtype, _ = number_format(entry, settings, device, family)
        return pipeline_files(
            files, present, index,
            left_out={name for name, component in family.loading.items() if component is None},
            replaced={family.denoiser} if settings.transformer_file else (),
            half=dtype.itemsize == 2,
        )  # fmt: skip

    return wanted


def _family_of(index: Mapping[str, Any], model: str, entry: ModelEntry) -> Family:
    pipeline_class = str(index["_class_name"])
    family = family_of(pipeline_class)
    if family is None:
        known = ", ".join(published_class(family) for family in FAMILIES)
        raise ModelUnavailable(f"{model} is a {pipeline_class}, which this server cannot serve; it knows {known}.")
    if entry.family not in (None, family.name):
        raise ModelUnavailable(f"{model} should be of the family {entry.family}, but its files are {family.name}.")
    return family
