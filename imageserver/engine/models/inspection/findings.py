"""Which device and which model would serve, and whether that model's files are whole; no weight is loaded."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable, NotOnDisk
from imageserver.engine.downloads.disk_space import free_bytes, needed_for
from imageserver.engine.downloads.search import DEMO_FOLDER, otherwise
from imageserver.engine.models import model_choice
from imageserver.engine.models.inspection.hub_access import check_hub
from imageserver.engine.models.inspection.unused_card import find_unused_card
from imageserver.engine.models.machine import bytes_on_disk
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.models.weight_files import completeness
from imageserver.engine.runner import controlnet
from imageserver.engine.runner.controlnet import KnownNet
from imageserver.protocol.finding import Finding
from imageserver.registry import ModelEntry
from imageserver.settings import Settings

GIB = 1024**3
PACKAGES = ("diffusers", "transformers", "accelerate")


def inspect(settings: Settings) -> Iterator[Finding]:
    """Yield what is known without loading the model; it ends with the first problem that hides the rest."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("torch", "ok", f"PyTorch {torch.__version__}, {versions}.")
    try:
        device = devices.choose(settings.device)
    except devices.DeviceUnavailable as error:
        yield Finding("device", "problem", f"{str(error).rstrip('.')}; DEVICE=auto takes what there is.")
        return
    for each in devices.all_of_kind(device):
        free = f"{devices.gpu_name(each)}, {devices.free_memory(each) / GIB:.1f} GiB free"
        yield Finding("device", "ok", f"{each}: {free}{' (used)' if each == device else ''}.")
    if unused := find_unused_card(settings, device):
        yield unused
    yield from _inspect_model(settings, device)


def _inspect_model(settings: Settings, device: torch.device, *, hub_failed: bool = False) -> Iterator[Finding]:
    """Yield which model would serve, where its files are, and how it would be fitted into memory."""
    try:
        choice = model_choice.choose_model(settings, device, hub_failed=hub_failed)
        entry, _ = model_choice.registered(choice.model, settings)
    except ModelUnavailable as error:
        yield Finding("model", "problem", str(error))
        return
    yield Finding("model", "ok", f"{choice.model}. {choice.reason}")
    hub = entry.hub or settings.model_source
    on_disk = settings.model_copy(update={"offline": True})
    nets: Sequence[KnownNet] = ()
    try:
        nets = controlnet.look_up(settings, entry.hub)
        found = model_choice.find_beside(nets, choice, on_disk, device, lambda phase, sentence, fraction: None)
    except NotOnDisk:
        yield from _inspect_download(choice.model, entry, nets, settings, device)
        return
    except ModelUnavailable as error:
        yield Finding("files", "problem", str(error))
        return
    if found.folder not in (DEMO_FOLDER, settings.resolve(Path(entry.source).expanduser())):
        without = "the model is on the disk, so OFFLINE=1 serves it without"
        yield check_hub(settings, hub, otherwise="warning", advice=without)
    yield from _inspect_control_nets(nets, settings)
    yield from _inspect_files(found)


def _inspect_control_nets(nets: Sequence[KnownNet], settings: Settings) -> Iterator[Finding]:
    """Yield those of CONTROLNET that are not on the disk."""
    known = {net.name for net in nets}
    for name in (each for each in settings.controlnets if each not in known):
        why = "OFFLINE=1 asks no hub" if settings.offline else "its hub does not answer"
        advice = f"start once without OFFLINE=1 and with the network, or {otherwise('CONTROLNET', settings)}"
        yield Finding("files", "problem", f"CONTROLNET={name} is not on the disk, and {why}: {advice}.")
    for net in nets:
        if net.download:
            yield _download(f"CONTROLNET={net.name}", net.download, net.download, settings)


def _inspect_download(
    name: str, entry: ModelEntry, nets: Sequence[KnownNet], settings: Settings, device: torch.device
) -> Iterator[Finding]:
    """Yield whether the model can be downloaded; where it cannot, MODEL=auto takes another one."""
    if settings.offline:
        sentence = f"{name} is not in {settings.models_dir}: start once without OFFLINE=1 to download it."
        yield Finding("files", "problem", sentence)
        return
    is_automatic = settings.model == "auto"
    advice = "MODEL=auto takes what needs no download" if is_automatic else "check the network or a proxy"
    hub = check_hub(
        settings, entry.hub or settings.model_source,
        otherwise="warning" if is_automatic else "problem", advice=f"{advice}, or {otherwise('MODEL', settings)}",
    )  # fmt: skip
    yield hub
    if hub.state == "warning":
        yield from _inspect_model(settings, device, hub_failed=True)
    else:
        size = (entry.download_gb or 0) * 1e9
        beside = sum(net.download for net in nets)
        yield _download(name, size, max(0.0, size - bytes_on_disk(entry, settings)) + beside, settings)
        yield from _inspect_control_nets(nets, settings)


def _download(name: str, size: float, missing: float, settings: Settings) -> Finding:
    """Return what the first start would download, and whether the disk has the room for the `missing` bytes."""
    folder = settings.resolve(settings.models_dir)
    free, needed = free_bytes(folder), needed_for(missing)
    told = f" of {size / 1e9:.3g} GB" if size else ""
    sentence = f"{name} is not on the disk; a download{told} goes into {folder}, which has {free / 1e9:.0f} GB free"
    if free < needed:
        sentence = f"{sentence} and needs {needed / 1e9:.1f} GB: free some space, or set MODELS_DIR."
        return Finding("files", "problem", sentence)
    return Finding("files", "warning", f"{sentence}.")


def _inspect_files(found: FoundModel) -> Iterator[Finding]:
    """Yield whether the files are whole, and how the weights would be fitted into memory."""
    separate = found.family.separate_text_encoder
    elsewhere = {*found.family.loading, *((separate.component,) if separate else ())}
    if found.settings.transformer_file is not None:
        elsewhere.add(found.family.denoiser)
    if found.checkpoint is not None:
        elsewhere.update(found.checkpoint.elements)
    faults = [fault for folder in found.folders for fault in completeness.faults(folder, elsewhere)]
    if faults:
        sentence = f"{found.folder}: {'; '.join(faults)}. Delete what is damaged, then download it again."
        yield Finding("files", "problem", sentence)
        return
    gigabytes = found.weights.total / 1e9
    yield Finding("files", "ok", f"{found.folder}: every weight file is whole; {gigabytes:.2f} GB of weights.")
    try:
        plan, reason = found.plan()
    except ModelUnavailable as error:
        yield Finding("memory", "problem", str(error))
        return
    yield Finding("memory", "ok", f"{reason} The plan is {plan.name}.")
