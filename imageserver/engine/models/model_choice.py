"""Which model a name means, MODEL=auto included, and where its files are; nothing is loaded yet."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from imageserver.engine.devices import devices, memory_plans, plan_choice
from imageserver.engine.devices.memory_needs import ModelWeights
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.devices.plan_choice import Room
from imageserver.engine.downloads import ModelUnavailable, Report
from imageserver.engine.downloads.unavailable import DownloadFailed
from imageserver.engine.families.family import Family
from imageserver.engine.models import automatic_choice
from imageserver.engine.models.automatic_choice import ModelChoice
from imageserver.engine.models.candidates import entry_of, shipped_entry
from imageserver.engine.models.machine import inspect_machine
from imageserver.engine.models.model_files import (
    family_in,
    find_checkpoint,
    locate_configuration,
    locate_pipeline,
    number_format,
)
from imageserver.engine.models.weight_files import transformer_file, weights
from imageserver.engine.models.weight_files.checkpoint import SUFFIX, Checkpoint
from imageserver.engine.pipelines.texts import separate_text_encoder
from imageserver.engine.runner import controlnet
from imageserver.engine.runner.controlnet import KnownNet
from imageserver.generation import MemoryPlanName, RecommendedModel
from imageserver.protocol.initial_model import InitialModel
from imageserver.registry import DEMO, ModelEntry, RegistryUnusable
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# Settings that apply only to the model of the settings, as the owner chose them for it.
CONFIGURED_MODEL_ONLY = {
    "transformer_file": None, "controlnet": "", "default_steps": None, "default_guidance_scale": None,
    "default_width": None, "default_height": None, "default_scheduler": "", "use_karras_sigmas": None,
}  # fmt: skip

# For which memory is planned where neither the model's entry nor a setting names a size.
DEFAULT_SIZE = (1024, 1024)


@dataclass(frozen=True)
class FoundModel:
    """A model whose files are on the disk; `folder` has only the configuration where a `checkpoint` has the weights.

    MEMORY=auto means the plan of `before`: what it meant for the engine before, or for MODEL=auto. `cards` are those of
    the group that it will be loaded on, if any.
    """

    name: str
    reason: str
    entry: ModelEntry
    folder: Path
    encoder_folder: Path | None
    control_folders: tuple[Path, ...]
    family: Family
    dtype: torch.dtype
    dtype_reason: str
    device: torch.device
    weights: ModelWeights
    settings: Settings
    before: InitialModel | None = None
    checkpoint: Checkpoint | None = None
    cards: tuple[str, ...] = ()

    @property
    def folders(self) -> list[Path]:
        """The folders that its components come from."""
        return [part for part in (self.folder, self.encoder_folder, *self.control_folders) if part is not None]

    @property
    def memory(self) -> MemoryPlanName | Literal["auto"]:
        """The requested plan: the setting goes before the model's entry."""
        return self.entry.memory or "auto" if self.settings.memory == "auto" else self.settings.memory

    @property
    def pixels(self) -> int:
        """The pixels of an image of its default size."""
        width, height = self.entry.width_and_height or DEFAULT_SIZE
        return min(width * height, self.settings.max_pixels)

    def plan(self, reclaimable: int = 0) -> tuple[MemoryPlan, str]:
        """Return how it would be fitted into the memory if `reclaimable` bytes more were free, and why.

        Raises ModelUnavailable.
        """
        kept = self.before if self.memory == "auto" else None
        wanted = kept.memory_plan if kept else self.memory
        cards = 1 if self.settings.compile else len(self.cards)
        room = Room(self.weights, self.dtype, self.device, self.pixels, reclaimable, cards)
        try:
            plan, why = plan_choice.choose(wanted, self.name, room)
        except plan_choice.NoPlanFits as error:
            raise ModelUnavailable(str(error)) from error
        return plan, kept.memory_reason if kept else why


def find(settings: Settings, report: Report, reclaimable: int | None = None, cards: tuple[str, ...] = ()) -> FoundModel:
    """Find the model that the settings name, downloading it where that is allowed.

    It is to be loaded where `reclaimable` is given, the bytes that others would leave to it, on the `cards` of a group,
    if any: then no ControlNet is downloaded beside which it does not fit. Touches no state of PyTorch, so it may run
    beside a generation. Raises ModelUnavailable or DeviceUnavailable.
    """
    device = devices.choose(settings.device)
    choice = _chosen(settings, device)
    if settings.model != "auto":
        return find_chosen(choice, settings, device, report, reclaimable, cards)
    logger.log(
        logging.WARNING if choice.model == DEMO and devices.is_accelerator(device) else logging.INFO, choice.reason
    )
    try:
        return find_chosen(choice, settings, device, report, reclaimable, cards)
    except DownloadFailed as error:
        try:
            choice = _chosen(settings, device, hub_failed=True)
        except ModelUnavailable as refused:
            raise ModelUnavailable(f"{error} {refused}") from error
        choice = replace(choice, reason=f"{error} {choice.reason}")
        logger.warning(choice.reason)
        return find_chosen(choice, settings, device, report, reclaimable, cards)


def find_chosen(
    choice: ModelChoice, settings: Settings, device: torch.device, report: Report, reclaimable: int | None = None,
    cards: tuple[str, ...] = (),
) -> FoundModel:  # fmt: skip
    """Find the files of a model that has been chosen, as `find` does; raises ModelUnavailable."""
    entry, _ = registered(choice.model, settings)
    nets = controlnet.look_up(settings, entry.hub)
    found = find_beside(nets, choice, settings, device, report)
    if reclaimable is not None and any(net.download for net in nets):
        replace(found, cards=cards).plan(reclaimable)
    folders = controlnet.find(settings, found.family, report, entry.hub)
    sizes = [weights.component_bytes(folder, found.dtype) for folder in folders]
    return replace(found, control_folders=folders, weights=_beside(found.weights, sizes))


def find_beside(
    nets: Sequence[KnownNet], choice: ModelChoice, settings: Settings, device: torch.device, report: Report
) -> FoundModel:
    """Find the files of a model that has been chosen, and none of the ControlNets beside it, which are only counted.

    Raises ModelUnavailable, also where the model does not take them.
    """
    name = choice.model
    entry, setting = registered(name, settings)
    checkpoint = find_checkpoint(entry, settings)
    if checkpoint is not None and entry.size is None:
        base = entry_of(checkpoint.base, settings)
        entry = entry.model_copy(update={"size": base and base.size})
    entry = _with_settings(entry, settings)
    if choice.vae_tiling:
        settings = settings.model_copy(update={"vae_tiling": True})
    if checkpoint is None:
        folder = locate_pipeline(name, entry, settings, device, report, setting=setting, nets=nets)
    else:
        folder = locate_configuration(checkpoint, settings, report)
    family = family_in(folder, name, entry)
    weights.refuse_if_incomplete(name, folder, family)
    dtype, dtype_reason = number_format(entry, settings, device, family)
    encoder_folder = separate_text_encoder.find(family.separate_text_encoder, name, folder, settings, report, entry.hub)
    controlnet.refuse(settings, family, nets)
    for net in nets:
        with contextlib.suppress(OSError, ValueError):  # loading the model says what is wrong with its files
            controlnet.refuse_for_model(net.config, folder / family.denoiser)
    components = weights.components_of(folder, left_out=family.loading)
    if encoder_folder is not None and family.separate_text_encoder is not None:
        components[family.separate_text_encoder.component] = encoder_folder
    replaced = checkpoint.bytes_by_component(dtype) if checkpoint else {}
    replaced |= transformer_file.bytes_by_component(settings, family.denoiser, dtype)
    beside = [net.count_weights() * dtype.itemsize for net in nets]
    sizes = _beside(weights.model_weights(components, dtype, replaced), beside)
    found = FoundModel(
        name,
        choice.reason,
        entry,
        folder,
        encoder_folder,
        tuple(net.folder for net in nets if net.folder is not None),
        family,
        dtype,
        dtype_reason,
        device,
        sizes,
        settings,
        checkpoint=checkpoint,
    )
    return _as_planned(found, choice)


def _beside(sizes: ModelWeights, nets: Sequence[int]) -> ModelWeights:
    """Return what a model weighs with ControlNets of so many bytes beside it, each of which is loaded through RAM."""
    return replace(sizes, resident=sum(nets), largest_file=max(sizes.largest_file, *nets, 0))


def _as_planned(found: FoundModel, choice: ModelChoice) -> FoundModel:
    """Return the model with the memory plan that MODEL=auto has chosen, unless it does not fit after all."""
    if choice.memory == "auto" or found.memory != "auto":
        return found
    why = f"MODEL=auto: {memory_plans.BY_NAME[choice.memory].sentence} (MEMORY={choice.memory})."
    planned = replace(found, before=InitialModel(found.name, found.reason, choice.memory, why, choice.vae_tiling))
    try:
        planned.plan()
    except ModelUnavailable:
        return found
    return planned


def choose_model(settings: Settings, device: torch.device, *, hub_failed: bool = False) -> ModelChoice:
    """Return which model MODEL means on the device that it is to be loaded on, and in a sentence or more why.

    Raises ModelUnavailable, also for a memory plan that the device does not support: before a model is downloaded.
    """
    plan = None if settings.memory == "auto" else memory_plans.BY_NAME[settings.memory]
    reason = memory_plans.obstacle(plan, device) if plan and not plan.sharded else None
    if reason is not None:
        raise ModelUnavailable(f"MEMORY={settings.memory} is not possible here: {reason}.")
    return _chosen(settings, device, hub_failed=hub_failed)


def _chosen(settings: Settings, device: torch.device, *, hub_failed: bool = False) -> ModelChoice:
    """Return the same whatever the device supports: the model may be downloaded for another machine."""
    if settings.model != "auto":
        return ModelChoice(settings.model, f"MODEL={settings.model} was asked for.")
    try:
        return automatic_choice.choose(inspect_machine(settings, device), settings, hub_failed=hub_failed)
    except RegistryUnusable as error:
        raise ModelUnavailable(str(error)) from error


def recommended_instead(found: FoundModel) -> RecommendedModel | None:
    """Return what would generate real images in the place of the demo model; None for any other model."""
    if found.name != DEMO:
        return None
    try:
        return automatic_choice.recommend(inspect_machine(found.settings, found.device), found.settings)
    except RegistryUnusable:
        # A mistake that came into the file since the model was found stops no load.
        return None


def registered(model: str, settings: Settings) -> tuple[ModelEntry, str]:
    """Return the registry's entry for a name, or one made from the name, and the setting or file it came from.

    Raises ModelUnavailable.
    """
    try:
        registry = settings.registry()
    except RegistryUnusable as error:
        raise ModelUnavailable(str(error)) from error
    entry = registry.get(model) or entry_of(model, settings)
    if entry is None:
        known = f" or {', '.join(registry)} of {settings.models_file.name}" if registry else ""
        path = settings.resolve(Path(model).expanduser())
        is_file = path.suffix.lower() == SUFFIX and path.is_file()
        if "/" not in model and model != "demo" and not path.is_dir() and not is_file:
            raise ModelUnavailable(f"MODEL={model} is neither a folder nor an id like Qwen/Qwen-Image{known}.")
        return ModelEntry(source=model), "MODEL"
    size = entry.width_and_height
    if size is not None and size[0] * size[1] > settings.max_pixels:
        if entry == shipped_entry(model):
            return entry.model_copy(update={"size": None}), "MODEL"
        raise ModelUnavailable(
            f"{settings.models_file.name}: the size {entry.size} of {model} is more than {settings.max_pixels} pixels "
            "(MAX_PIXELS)."
        )
    return entry, f"{settings.models_file.name}: {model}: source"


def _with_settings(entry: ModelEntry, settings: Settings) -> ModelEntry:
    """Return an entry with the defaults that the owner has set for every model."""
    defaults = {
        "steps": settings.default_steps, "guidance": settings.default_guidance_scale, "size": settings.default_size,
    }  # fmt: skip
    return entry.model_copy(update={name: value for name, value in defaults.items() if value is not None})
