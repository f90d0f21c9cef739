"""The ControlNets that are loaded beside a model (CONTROLNET): they guide the denoiser by control images.

They stay on the device under every memory plan; the pipeline calls them before the denoiser.
"""

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError

from imageserver.engine.device_errors import is_lost
from imageserver.engine.downloads import ModelUnavailable, NotOnDisk, Report, locate
from imageserver.engine.downloads.announced import announced
from imageserver.engine.downloads.search import otherwise
from imageserver.engine.families.family import Family
from imageserver.engine.pipelines.types import Kind
from imageserver.errors import InvalidParameter
from imageserver.generation import Control
from imageserver.registry import Hub
from imageserver.settings import PACKAGE_DIR, Settings

# ControlNets for the demo model that come with the server.
SHIPPED = PACKAGE_DIR / "controls"
CONTROLLED: Mapping[Kind, Kind] = {"text": "control", "image": "control-image", "inpaint": "control-inpaint"}
# The width of the texts that both read; another width means another model.
MUST_EQUAL = ("cross_attention_dim", "joint_attention_dim")


@dataclass(frozen=True)
class KnownNet:
    """What is known of one before it is loaded: its folder on the disk, or the bytes that are still to be fetched."""

    name: str
    config: Mapping[str, Any]
    download: int = 0
    folder: Path | None = None

    @property
    def kind(self) -> "NetKind":
        width = next((self.config[name] for name in MUST_EQUAL if isinstance(self.config.get(name), int)), None)
        return NetKind(str(self.config.get("_class_name")), width)

    def count_weights(self) -> int:
        """Return the number of its weights; raises ModelUnavailable for a configuration that no class takes."""
        try:
            net_class = getattr(diffusers, str(self.config.get("_class_name")))
            known = inspect.signature(net_class).parameters
            with torch.device("meta"):
                net = net_class(**{name: value for name, value in self.config.items() if name in known})
            return sum(weight.numel() for weight in net.parameters())
        except Exception as error:  # whatever diffusers' classes raise for somebody's configuration
            raise ModelUnavailable(f"CONTROLNET={self.name} has a config.json that makes no ControlNet.") from error


@dataclass(frozen=True)
class NetKind:
    """What models a ControlNet was made for: its class, and the width of the texts that both read, if it says so."""

    class_name: str
    text_width: int | None


def look_up(settings: Settings, hub: Hub | None) -> Sequence[KnownNet]:
    """Return what is known of those that CONTROLNET names, as `look_up_one` does."""
    found = (look_up_one(name, settings, hub) for name in settings.controlnets)
    return [net for net in found if net is not None]


def look_up_one(name: str, settings: Settings, hub: Hub | None) -> KnownNet | None:
    """Return what the disk, or else the model's `hub`, says of a ControlNet before it is downloaded.

    None where the hub does not answer or may not be asked. Raises ModelUnavailable for a name that means none.
    """
    try:
        return _on_disk(name, _locate_one(name, settings.model_copy(update={"offline": True}), lambda *_: None, hub))
    except NotOnDisk:
        found = announced(name, settings, hub, otherwise=otherwise("CONTROLNET", settings))
        return KnownNet(name, *found) if found else None


def refuse(settings: Settings, family: Family, nets: Iterable[KnownNet]) -> None:
    """Raise ModelUnavailable for more than a family takes, and for one of `nets` that was made for another family."""
    names = settings.controlnets
    if names and not family.control_net:
        raise ModelUnavailable(f"CONTROLNET is set, but {family.name} is served without a ControlNet; leave it empty.")
    if len(names) > family.max_control_nets:
        raise ModelUnavailable(
            f"CONTROLNET names {len(names)} ControlNets; {family.name} is served with at most "
            f"{family.max_control_nets}."
        )
    for net in nets:
        if net.kind.class_name != family.control_net:
            raise ModelUnavailable(
                f"CONTROLNET={net.name} is a {net.kind.class_name}; {family.name} needs a {family.control_net}."
            )
        if net.config.get("extra_condition_channels"):
            raise ModelUnavailable(f"CONTROLNET={net.name} is made to inpaint, which is not served.")


def refuse_for_model(net: Mapping[str, Any], denoiser: Path) -> None:
    """Raise ModelUnavailable where the one of this configuration was made for other texts than those of a denoiser."""
    model = json.loads((denoiser / "config.json").read_text())
    for name in MUST_EQUAL:
        if net.get(name) != model.get(name):
            raise ModelUnavailable(
                f"CONTROLNET was made for another model: its {name} is {net.get(name)}, that of the model is "
                f"{model.get(name)}."
            )


def find(settings: Settings, family: Family, report: Report, hub: Hub | None) -> tuple[Path, ...]:
    """Return the folders that CONTROLNET names, in its order, downloading what is missing.

    Raises ModelUnavailable where one is missing, or was made for another family, and for more than the family takes.
    """
    folders = tuple(_locate_one(name, settings, report, hub) for name in settings.controlnets)
    refuse(settings, family, map(_on_disk, settings.controlnets, folders))
    return folders


def load(folder: Path, family: Family, base: Path, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """Return the ControlNet on its device; raises ModelUnavailable where it does not fit the model in `base`."""
    try:
        refuse_for_model(json.loads((folder / "config.json").read_text()), base / family.denoiser)
        net = getattr(diffusers, family.control_net).from_pretrained(
            str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if is_lost(error):
            raise
        # Clients see it too, but not the owner's paths.
        sentence = str(error).strip().splitlines()[0].replace(str(folder), "its folder")[:300]
        raise ModelUnavailable(f"CONTROLNET cannot be loaded: {sentence}") from error
    module: torch.nn.Module = net.to(device).eval()
    return module


def combined(nets: Sequence[torch.nn.Module], family: Family, controls: Sequence[Control]) -> torch.nn.Module:
    """Return what a pipeline calls for the control images of one request: a ControlNet, or several in one module.

    Raises InvalidParameter where one is not loaded.
    """
    if any(control.net >= len(nets) for control in controls):
        raise InvalidParameter(
            "controls: a ControlNet that was chosen is not loaded with this model.", param="controls"
        )
    chosen = [nets[control.net] for control in controls]
    if len(chosen) == 1:
        return chosen[0]
    distinct = chosen if family.max_control_nets > 1 else chosen[:1]
    module: torch.nn.Module = getattr(diffusers, family.combined_control_net)(distinct)
    return module


def kinds_of(family: Family, *, controlled: bool) -> dict[Kind, str]:
    """Return the kinds of generation that a model of the family serves, and the pipeline class of each."""
    return {
        kind: name for kind, name in family.pipeline_classes.items() if controlled or kind not in CONTROLLED.values()
    }


def _locate_one(name: str, settings: Settings, report: Report, hub: Hub | None) -> Path:
    """Return the folder of one that CONTROLNET names; raises ModelUnavailable where it is missing."""
    folder = SHIPPED / name
    if "/" not in name and folder.is_dir():
        return folder
    return locate(name, settings, report, setting="CONTROLNET", hub=hub)


def _on_disk(name: str, folder: Path) -> KnownNet:
    try:
        return KnownNet(name, dict(json.loads((folder / "config.json").read_text())), folder=folder)
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(f"CONTROLNET={name} has no readable config.json.") from error
