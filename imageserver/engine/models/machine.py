"""The machine as MODEL=auto sees it: what is free of memory and disk now, and which models need no download."""

import contextlib
import importlib.util
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch

from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.disk_space import free_bytes
from imageserver.engine.downloads.hubs import open_hub, stored_bytes
from imageserver.engine.models.candidates import ON_CPU, candidates, entry_of
from imageserver.engine.models.model_files import is_on_disk
from imageserver.engine.runner import controlnet
from imageserver.engine.runner.controlnet import KnownNet, NetKind
from imageserver.registry import Hub, ModelEntry
from imageserver.settings import Settings

GIB = 1024**3


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: free memory of the device and RAM in GiB, free disk in GB.

    `on_disk` are the candidates that need no download, `stored` the GB that the disk has of each, unfinished ones
    included; `has_torchao` allows weights of 8 bits. `controls` are the GiB that ControlNets take in 16 bits beside a
    model, `controls_gb` the GB of them that are still to be downloaded, and `control_nets` says what models they were
    made for, all as far as the disk or their hub tells.
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
    controls_gb: float = 0
    control_nets: frozenset[NetKind] = frozenset()


def inspect_machine(settings: Settings, device: torch.device) -> Machine:
    """Return the machine's state at the moment; raises RegistryUnusable."""
    found = ((name, entry_of(name, settings)) for name in candidates(device.type) or (ON_CPU.model,))
    entries = {name: entry for name, entry in found if entry is not None}
    nets = _control_nets(settings, dict.fromkeys(entry.hub for entry in entries.values()))
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
        controls=sum(map(_weights_of, nets)) * torch.bfloat16.itemsize / GIB,
        controls_gb=sum(net.download for net in nets) / 1e9,
        control_nets=frozenset(net.kind for net in nets),
    )


def bytes_on_disk(entry: ModelEntry, settings: Settings) -> int:
    """Return the bytes that the disk has of a hub's model, unfinished files included; 0 for a folder."""
    if entry.source.count("/") != 1:
        return 0
    return stored_bytes(open_hub(entry.hub or settings.model_source, settings), entry.source)


def _control_nets(settings: Settings, hubs: Iterable[Hub | None]) -> Collection[KnownNet]:
    """Return what is known of the ControlNets that CONTROLNET names, each found where a model's hub keeps it.

    No hub is asked for one that is on the disk, whichever of them it came from.
    """
    offline = settings.model_copy(update={"offline": True})
    found: dict[str, KnownNet] = {}
    for where, name, hub in itertools.product((offline, settings), settings.controlnets, hubs):
        if name not in found:
            with contextlib.suppress(ModelUnavailable):
                net = controlnet.look_up_one(name, where, hub)
                found |= {name: net} if net else {}
    return found.values()


def _weights_of(net: KnownNet) -> int:
    """Return the number of weights, 0 for a configuration that no class takes: that one is refused later."""
    with contextlib.suppress(ModelUnavailable):
        return net.count_weights()
    return 0
