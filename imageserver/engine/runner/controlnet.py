"""The ControlNets that are loaded beside a model (CONTROLNET): they guide the denoiser by control images.

They stay on the device under every memory plan; the pipeline calls them before the denoiser.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError

from imageserver.engine.device_errors import is_lost
from imageserver.engine.downloads import ModelUnavailable, Report, locate
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
class NetKind:
    """What models a ControlNet was made for: its class, and the width of the texts that both read, if it says so."""

    class_name: str
    text_width: int | None


def find(settings: Settings, family: Family, report: Report, hub: Hub | None) -> tuple[Path, ...]:
    """Return the folders that CONTROLNET names, in its order. An id is looked up on the model's `hub`.

    Raises ModelUnavailable where one is missing, or was made for another family, and for more than the family takes.
    """
    names = settings.controlnets
    if names and not family.control_net:
        raise ModelUnavailable(f"CONTROLNET is set, but {family.name} is served without a ControlNet; leave it empty.")
    if len(names) > family.max_control_nets:
        raise ModelUnavailable(
            f"CONTROLNET names {len(names)} ControlNets; {family.name} is served with at most "
            f"{family.max_control_nets}."
        )
    return tuple(_find_one(name, settings, family, report, hub) for name in names)


def locate_one(name: str, settings: Settings, report: Report, hub: Hub | None) -> Path:
    """Return the folder of one that CONTROLNET names; raises ModelUnavailable where it is missing."""
    folder = SHIPPED / name
    if "/" not in name and folder.is_dir():
        return folder
    return locate(name, settings, report, setting="CONTROLNET", hub=hub)


def kind_of(folder: Path) -> NetKind:
    """Return what models a ControlNet was made for; raises ModelUnavailable where its files do not say it."""
    config = _config(folder, folder.name)
    width = next((config[name] for name in MUST_EQUAL if isinstance(config.get(name), int)), None)
    return NetKind(str(config.get("_class_name")), width)


def load(folder: Path, family: Family, base: Path, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """Return the ControlNet on its device; raises ModelUnavailable where it does not fit the model in `base`."""
    try:
        own, other = (json.loads((part / "config.json").read_text()) for part in (folder, base / family.denoiser))
        for name in MUST_EQUAL:
            if own.get(name) != other.get(name):
                raise ModelUnavailable(
                    f"CONTROLNET was made for another model: its {name} is {own.get(name)}, that of the model is "
                    f"{other.get(name)}."
                )
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


def _find_one(name: str, settings: Settings, family: Family, report: Report, hub: Hub | None) -> Path:
    folder = locate_one(name, settings, report, hub)
    config = _config(folder, name)
    if config.get("_class_name") != family.control_net:
        raise ModelUnavailable(
            f"CONTROLNET={name} is a {config.get('_class_name')}; {family.name} needs a {family.control_net}."
        )
    if config.get("extra_condition_channels"):
        raise ModelUnavailable(f"CONTROLNET={name} is made to inpaint, which is not served.")
    return folder


def _config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"CONTROLNET={name} has no readable config.json.") from error
    return config
