"""Which model a name means, MODEL=auto included, and where its files are; nothing is loaded yet."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from imageserver.engine.devices import devices, number_formats, plan_choice
from imageserver.engine.devices.memory_needs import ModelWeights
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.downloads import ModelUnavailable, Report, locate
from imageserver.engine.downloads.file_choice import INDEX, pipeline_files
from imageserver.engine.downloads.search import FileChoice
from imageserver.engine.families import FAMILIES, family_of, published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models import transformer_file, weights
from imageserver.engine.pipelines import separate_text_encoder
from imageserver.engine.runner import controlnet
from imageserver.generation import MemoryPlanName
from imageserver.protocol.engine_config import InitialModel
from imageserver.registry import ModelEntry, RegistryUnusable
from imageserver.settings import Settings

QWEN_IMAGE = "Qwen/Qwen-Image"
# The whole of Qwen-Image in bfloat16 is about 54 GiB, and it needs a tenth more beside the weights.
QWEN_IMAGE_BYTES = 60 * 1024**3
# For which memory is planned where neither the model's entry nor a setting names a size.
DEFAULT_SIZE = (1024, 1024)


@dataclass(frozen=True)
class FoundModel:
    """A model whose files are on the disk.

    MEMORY=auto means what it meant for the engine `before`, where there was one.
    """

    name: str
    reason: str
    entry: ModelEntry
    folder: Path
    encoder_folder: Path | None
    control_folder: Path | None
    family: Family
    dtype: torch.dtype
    dtype_reason: str
    device: torch.device
    weights: ModelWeights
    settings: Settings
    before: InitialModel | None = None

    @property
    def folders(self) -> list[Path]:
        """The folders that its components come from."""
        return [part for part in (self.folder, self.encoder_folder, self.control_folder) if part is not None]

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
        try:
            plan, why = plan_choice.choose(
                wanted, self.name, self.weights, self.dtype, self.device, self.pixels, reclaimable
            )
        except plan_choice.NoPlanFits as error:
            raise ModelUnavailable(str(error)) from error
        return plan, kept.memory_reason if kept else why


def find(settings: Settings, report: Report) -> FoundModel:
    """Find the model that the settings name, downloading it where that is allowed.

    Touches no state of PyTorch, so it may run beside a generation. Raises ModelUnavailable or DeviceUnavailable.
    """
    device = devices.choose(settings.device)
    name, reason = choose_model(settings.model, device)
    entry, setting = registered(name, settings)
    entry = _with_settings(entry, settings)
    folder = locate(
        entry.source, settings, report,
        setting=setting, hub=entry.hub, revision=entry.revision_on(entry.hub or settings.model_source),
        wanted=_files_to_load(name, entry, settings, device),
    )  # fmt: skip
    family = _family_in(folder, name, entry)
    weights.refuse_if_incomplete(name, folder, family)
    dtype, dtype_reason = _number_format(entry, settings, device, family)
    encoder_folder = separate_text_encoder.find(family.separate_text_encoder, name, folder, settings, report, entry.hub)
    control_folder = controlnet.find(settings, family, report, entry.hub)
    components = weights.components_of(folder, left_out=family.loading)
    if encoder_folder is not None and family.separate_text_encoder is not None:
        components[family.separate_text_encoder.component] = encoder_folder
    replaced = transformer_file.bytes_by_component(settings, family.denoiser, dtype)
    sizes = weights.model_weights(components, dtype, replaced)
    return FoundModel(
        name,
        reason,
        entry,
        folder,
        encoder_folder,
        control_folder,
        family,
        dtype,
        dtype_reason,
        device,
        sizes,
        settings,
    )


def choose_model(wanted: str, device: torch.device) -> tuple[str, str]:
    """Return the model's name and, in one sentence, the reason for it."""
    if wanted != "auto":
        return wanted, f"MODEL={wanted} was asked for."
    if device.type == "cuda" and devices.free_memory(device) >= QWEN_IMAGE_BYTES:
        free = devices.free_memory(device) / 1024**3
        return QWEN_IMAGE, f"MODEL=auto: the {devices.gpu_name(device)} has {free:.0f} GiB free, enough for Qwen-Image."
    where = "no CUDA device" if device.type != "cuda" else "no CUDA device with 60 GiB free"
    return (
        "demo",
        f"MODEL=auto: there is {where}, so the embedded demo model generates; set MODEL={QWEN_IMAGE} to change it.",
    )


def registered(model: str, settings: Settings) -> tuple[ModelEntry, str]:
    """Return the registry's entry for a name, or one made from the name, and the setting or file it came from.

    Raises ModelUnavailable.
    """
    try:
        registry = settings.registry()
    except RegistryUnusable as error:
        raise ModelUnavailable(str(error)) from error
    entry = registry.get(model)
    if entry is None:
        known = f" or {', '.join(registry)} of {settings.models_file.name}" if registry else ""
        if "/" not in model and model != "demo" and not settings.resolve(Path(model).expanduser()).is_dir():
            raise ModelUnavailable(f"MODEL={model} is neither a folder nor an id like Qwen/Qwen-Image{known}.")
        return ModelEntry(source=model), "MODEL"
    size = entry.width_and_height
    if size is not None and size[0] * size[1] > settings.max_pixels:
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


def _number_format(
    entry: ModelEntry, settings: Settings, device: torch.device, family: Family
) -> tuple[torch.dtype, str]:
    """Return the weights' number format and, where it is not what is usual on the device, a sentence that says why."""
    wanted = entry.dtype or "auto" if settings.dtype == "auto" else settings.dtype
    if wanted != "auto":
        return getattr(torch, wanted), ""
    return number_formats.choose(device, float16=family.float16)


def _files_to_load(model: str, entry: ModelEntry, settings: Settings, device: torch.device) -> FileChoice:
    """Return the choice of a pipeline's files, which refuses a model that cannot be served before its download."""

    def wanted(files: Mapping[str, int], present: Collection[str], index: Mapping[str, Any]) -> Collection[str]:
        if "_class_name" not in index:
            return {INDEX}
        family = _family_of(index, model, entry)
        dtype, _ = _number_format(entry, settings, device, family)
        return pipeline_files(
            files, present, index,
            left_out={name for name, component in family.loading.items() if component is None},
            replaced={family.denoiser} if settings.transformer_file else (),
            half=dtype.itemsize == 2,
        )  # fmt: skip

    return wanted


def _family_in(folder: Path, model: str, entry: ModelEntry) -> Family:
    try:
        return _family_of(json.loads((folder / INDEX).read_text()), model, entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{model} has no readable model_index.json, so it is not a diffusers folder.") from error


def _family_of(index: Mapping[str, Any], model: str, entry: ModelEntry) -> Family:
    pipeline_class = str(index["_class_name"])
    family = family_of(pipeline_class)
    if family is None:
        known = ", ".join(published_class(family) for family in FAMILIES)
        raise ModelUnavailable(f"{model} is a {pipeline_class}, which this server cannot serve; it knows {known}.")
    if entry.family not in (None, family.name):
        raise ModelUnavailable(f"{model} should be of the family {entry.family}, but its files are {family.name}.")
    return family
