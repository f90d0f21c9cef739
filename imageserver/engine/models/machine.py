"""The machine as MODEL=auto sees it: what is free of memory and disk now, and which models need no download."""

import contextlib
import importlib.util
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.disk_space import free_bytes
from imageserver.engine.downloads.hubs import open_hub, stored_bytes
from imageserver.engine.models.candidates import ON_CPU, candidates, entry_of
from imageserver.engine.models.model_files import is_on_disk
from imageserver.engine.models.weight_files.weights import component_bytes
from imageserver.engine.runner import controlnet
from imageserver.engine.runner.controlnet import NetKind
from imageserver.registry import Hub, ModelEntry
from imageserver.settings import Settings

GIB = 1024**3


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: free memory of the device and RAM in GiB, free disk in GB.

    `on_disk` are the candidates that need no download, `stored` the GB that the disk has of each, unfinished ones
    included; `has_torchao` allows weights of 8 bits. `controls` are the GiB that ControlNets take in 16 bits beside a
    model, as far as the disk has them, and `control_nets` says what models those were made for.
    """

    kind: str
    device: str
    free: float
    ram: float
    disk: float
    bfloat16: bool = True
    has_torchao: bool = False
    on_disk: frozenset[str] = frozenset()
    stored: Mapping[str, float] = field(default_factory=dict)
    controls: float = 0
    control_nets: frozenset[NetKind] = frozenset()


def inspect_machine(settings: Settings, device: torch.device) -> Machine:
    """Return the machine's state at the moment; raises RegistryUnusable."""
    found = ((name, entry_of(name, settings)) for name in candidates(device.type) or (ON_CPU.model,))
    entries = {name: entry for name, entry in found if entry is not None}
    controls = _control_folders(settings, {entry.hub for entry in entries.values()})
    return Machine(
        kind=device.type,
        device=devices.gpu_name(device),
        free=devices.free_memory(device) / GIB,
        ram=devices.free_memory(torch.device("cpu")) / GIB,
        disk=free_bytes(settings.resolve(settings.models_dir)) / 1e9,
        bfloat16=devices.computes_bfloat16(device),
        has_torchao=importlib.util.find_spec("torchao") is not None,
        on_disk=frozenset(name for name, entry in entries.items() if is_on_disk(name, entry, settings, device)),
        stored={name: bytes_on_disk(entry, settings) / 1e9 for name, entry in entries.items()},
        controls=sum(component_bytes(folder, torch.bfloat16) for folder in controls) / GIB,
        control_nets=frozenset(_kinds(controls)),
    )


def bytes_on_disk(entry: ModelEntry, settings: Settings) -> int:
    """Return the bytes that the disk has of a hub's model, unfinished files included; 0 for a folder."""
    if entry.source.count("/") != 1:
        return 0
    return stored_bytes(open_hub(entry.hub or settings.model_source, settings), entry.source)


def _control_folders(settings: Settings, hubs: Iterable[Hub | None]) -> Collection[Path]:
    """Return the folders of the ControlNets that CONTROLNET names, each found where a model's hub keeps it."""
    offline = settings.model_copy(update={"offline": True})
    found: dict[str, Path] = {}
    for name, hub in itertools.product(settings.controlnets, hubs):
        with contextlib.suppress(ModelUnavailable):
            found[name] = controlnet.locate_one(name, offline, lambda phase, sentence, fraction: None, hub)
    return found.values()


def _kinds(folders: Iterable[Path]) -> Iterator[NetKind]:
    for folder in folders:
        with contextlib.suppress(ModelUnavailable):
            yield controlnet.kind_of(folder)
