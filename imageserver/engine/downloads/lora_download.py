"""Fetch a LoRA from a hub into LORA_DIR, where it is like any other: `OWNER/REPOSITORY/FILE`."""

from collections.abc import Mapping
from pathlib import Path

from imageserver.atomic_write import place_atomically
from imageserver.engine.downloads.disk_space import free_bytes, needed_for
from imageserver.engine.downloads.hubs import open_hub
from imageserver.engine.downloads.network_failures import with_retries
from imageserver.engine.downloads.progress import ProgressMeter, Report
from imageserver.engine.downloads.unavailable import ModelUnavailable, NotOnDisk
from imageserver.lora_folder import SUFFIX, hub_mark
from imageserver.settings import Settings

MAX_NAMED = 10
OTHERWISE = "generate without this LoRA"


def fetch_lora(hub_id: str, settings: Settings, report: Report) -> Path:
    """Return the file of `owner/repository` or `owner/repository:file` in LORA_DIR; raises ModelUnavailable."""
    repository, _, wanted = hub_id.partition(":")
    if settings.offline:
        raise NotOnDisk(f"OFFLINE=1 and {hub_id} is not in LORA_DIR.")
    hub = open_hub(settings.model_source, settings)
    sizes = with_retries(lambda: hub.sizes(repository, None), repository, hub.title, report, otherwise=OTHERWISE)
    name = _chosen(hub_id, sizes, wanted)
    target = settings.resolve(settings.lora_dir) / repository / name
    if not target.resolve().is_relative_to(settings.resolve(settings.lora_dir).resolve()):
        raise ModelUnavailable(f"{hub_id} has a file outside of its folder.")
    if free_bytes(hub.folder) < needed_for(sizes[name]):
        raise ModelUnavailable(f"{hub_id} has {sizes[name] / 1e9:.1f} GB, for which the disk has no room.")
    meter = ProgressMeter(hub_id, sizes[name], report)
    folder = with_retries(
        lambda: hub.fetch(repository, None, {name}, meter), repository, hub.title, report, otherwise=OTHERWISE
    )
    try:
        # First: whoever reads the file looks for the mark then.
        target.parent.mkdir(parents=True, exist_ok=True)
        hub_mark(target).touch()
        place_atomically((folder / name).resolve(), target)
    except OSError as error:
        raise ModelUnavailable(f"{hub_id} cannot be put into LORA_DIR: {error.strerror}.") from error
    return target


def _chosen(hub_id: str, sizes: Mapping[str, int], wanted: str) -> str:
    """Return the file of a repository that was named, or the only one that may be meant."""
    files = sorted(name for name in sizes if name.lower().endswith(SUFFIX))
    named = [name for name in files if wanted in (name, name[: -len(SUFFIX)])] if wanted else files
    if len(named) == 1:
        return named[0]
    if not files:
        raise ModelUnavailable(f"{hub_id} has no safetensors file.")
    some = ", ".join(files[:MAX_NAMED]) + (" and more" if len(files) > MAX_NAMED else "")
    repository = hub_id.partition(":")[0]
    raise ModelUnavailable(f"{hub_id} is not one file: name it as {repository}:FILE, with one of {some}.")
