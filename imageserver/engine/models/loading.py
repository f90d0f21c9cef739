"""Choose the model, make sure that it fits, and load its pipeline."""

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import diffusers
import torch
import transformers

from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.memory import bytes_of
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.downloads import PIPELINE_FILES, ModelUnavailable, Report, locate
from imageserver.engine.families import FAMILIES, family_of, published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models import transformer_file
from imageserver.engine.models.load_errors import explaining_load_errors
from imageserver.engine.pipelines import separate_text_encoder, single_frame_vae
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulers
from imageserver.engine.pipelines.types import Pipeline
from imageserver.engine.runner import controlnet
from imageserver.generation import DeviceInfo, MemoryPlanName, ModelInfo
from imageserver.registry import ModelEntry, RegistryUnusable
from imageserver.schedulers import find_scheduler, split_name
from imageserver.settings import Settings

QWEN_IMAGE = "Qwen/Qwen-Image"
# The whole of Qwen-Image in bfloat16 is about 54 GiB, and a tenth more is wanted beside the weights.
QWEN_IMAGE_BYTES = 60 * 1024**3
# As diffusers and transformers name weights, whole or in parts, where no variant is asked for.
PLAIN_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class FoundModel:
    """A model whose files are on the disk; `weights` are the bytes of every component in `dtype`."""

    name: str
    reason: str
    entry: ModelEntry
    folder: Path
    encoder_folder: Path | None
    control_folder: Path | None
    family: Family
    dtype: torch.dtype
    device: torch.device
    weights: dict[str, int]
    settings: Settings

    @property
    def folders(self) -> list[Path]:
        """The folders that its parts come from."""
        return [part for part in (self.folder, self.encoder_folder, self.control_folder) if part is not None]

    @property
    def memory(self) -> MemoryPlanName | Literal["auto"]:
        """The plan that is asked for: a setting goes before the entry of a model."""
        return self.entry.memory or "auto" if self.settings.memory == "auto" else self.settings.memory

    def plan(self, reclaimable: int = 0) -> tuple[MemoryPlan, str]:
        """Return how it would be fitted into the memory if `reclaimable` bytes more were free, and why.

        Raises ModelUnavailable.
        """
        try:
            return memory_plans.choose(self.memory, self.name, self.weights, self.dtype, self.device, reclaimable)
        except memory_plans.NoPlanFits as error:
            raise ModelUnavailable(str(error)) from error


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, the ControlNet beside it, and what is told about it."""

    pipeline: Pipeline
    family: Family
    info: ModelInfo
    control: torch.nn.Module | None = None


def find(settings: Settings, report: Report) -> FoundModel:
    """Find the model that the settings ask for, downloading it where that is allowed; nothing is loaded yet.

    Touches no state of PyTorch, so it may run beside a generation. Raises ModelUnavailable or DeviceUnavailable.
    """
    device = devices.choose(settings.device)
    name, reason = choose_model(settings.model, device)
    entry, setting = registered(name, settings)
    entry = _as_chosen(entry, settings)
    folder = locate(
        entry.source, settings, report,
        setting=setting, hub=entry.hub, revision=entry.revision, wanted=PIPELINE_FILES,
    )  # fmt: skip
    family = _family_in(folder, name, entry)
    _refuse_if_incomplete(name, folder, family)
    dtype = _dtype(entry.dtype or "auto" if settings.dtype == "auto" else settings.dtype, device)
    encoder_folder = separate_text_encoder.find(family.separate_text_encoder, name, folder, settings, report, entry.hub)
    control_folder = controlnet.find(settings, family, report, entry.hub)
    weights = weight_bytes(folder, dtype, left_out=family.loading)
    if encoder_folder is not None and family.separate_text_encoder is not None:
        weights[family.separate_text_encoder.component] = _bytes_in(encoder_folder, dtype)
    weights |= transformer_file.bytes_by_component(settings, family.denoiser)
    return FoundModel(
        name, reason, entry, folder, encoder_folder, control_folder, family, dtype, device, weights, settings
    )


def load(found: FoundModel, report: Report) -> LoadedModel:
    """Load a model; raises ModelUnavailable."""
    began = time.monotonic()
    settings, family, device, entry = found.settings, found.family, found.device, found.entry
    control = None
    if found.control_folder is not None:
        # Before the memory is looked at, of which it keeps its part.
        control = controlnet.load(found.control_folder, family, found.folder, found.dtype, device)
    plan, plan_reason = found.plan()
    size = sum(found.weights.values()) / 1e9
    report("loading", f"{found.name}: {size:.2f} GB of weights are being loaded. {plan_reason}", None)
    single_frame_vae.install()
    # Their bars would break our log lines; progress is told in the log and in /startupz.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    with explaining_load_errors(found.name, found.folder):
        pipeline = _assemble(found, plan)
        pipeline.set_progress_bar_config(disable=True)
        family.customize(pipeline)
        _choose_scheduler(pipeline, family, found.name, settings)
        if settings.vae_tiling:
            pipeline.vae.enable_tiling()
        memory_plans.move_to_device(pipeline, plan, device)
    defaults = family.defaults(pipeline)
    schedulers = NoiseSchedulers(pipeline.scheduler, family.noise_schedulers)
    modules = [part for part in (*pipeline.components.values(), control) if isinstance(part, torch.nn.Module)]
    info = ModelInfo(
        name=found.name,
        family=family.name,
        reason=found.reason,
        device=DeviceInfo(
            kind=device.type,
            gpu=devices.gpu_name(device),
            cuda_version=devices.cuda_version(device),
            dtype=str(found.dtype).removeprefix("torch."),
            memory_mb=round(devices.used_memory(device) / devices.MIB, 2),
            memory_plan=plan.name,
            memory_reason=plan_reason,
        ),
        scheduler=type(pipeline.scheduler).__name__,
        parameters=sum(parameter.numel() for module in modules for parameter in module.parameters()),
        size_mb=round(sum(bytes_of(weight) for module in modules for weight in module.parameters()) / devices.MIB, 2),
        load_time=round(time.monotonic() - began, 2),
        revision="".join(fingerprint(part) for part in found.folders) + transformer_file.fingerprint(settings),
        default_steps=defaults.steps if entry.steps is None else entry.steps,
        default_true_cfg_scale=defaults.guidance if entry.guidance is None else entry.guidance,
        default_size=entry.width_and_height,
        source=entry.source,
        guidance=family.guidance,
        kinds=tuple(controlnet.kinds_of(family, controlled=control is not None)),
        max_images=family.max_images,
        layers=family.layers,
        sampler=schedulers.own,
        schedulers=schedulers.classes,
        positive_magic=dict(family.positive_magic),
    )
    return LoadedModel(pipeline, family, info, control)


def _assemble(found: FoundModel, plan: MemoryPlan) -> Pipeline:
    """Return the pipeline of a folder, with what comes from elsewhere in its place."""
    settings, family, folder = found.settings, found.family, found.folder
    given = transformer_file.load(settings, folder, family.denoiser, found.dtype) | family.load_components(folder)
    if found.encoder_folder is not None and family.separate_text_encoder is not None:
        quantization = memory_plans.quantization_of(plan, "transformers")
        given |= separate_text_encoder.load(
            family.separate_text_encoder, found.encoder_folder, found.dtype, quantization
        )
    options = {**memory_plans.loading_options(plan, folder, given), **given, **family.loading}
    return diffusers.DiffusionPipeline.from_pretrained(
        str(folder), dtype=found.dtype, use_safetensors=True, local_files_only=True, **options
    )


def choose_model(wanted: str, device: torch.device) -> tuple[str, str]:
    """Return the model's name and, in one sentence, why it was taken."""
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
    """Return what a name stands for, itself where nobody named it, and where its source was read.

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


def _as_chosen(entry: ModelEntry, settings: Settings) -> ModelEntry:
    """Return an entry with what the owner has chosen for every model."""
    chosen = {
        "steps": settings.default_steps, "guidance": settings.default_guidance_scale, "size": settings.default_size,
    }  # fmt: skip
    return entry.model_copy(update={name: value for name, value in chosen.items() if value is not None})


def _choose_scheduler(pipeline: Pipeline, family: Family, model: str, settings: Settings) -> None:
    """Make the owner's choice the model's own scheduler; raises ModelUnavailable for one that does not fit."""
    known = NoiseSchedulers(pipeline.scheduler, family.noise_schedulers)
    name = find_scheduler(settings.default_scheduler, known.classes, known.own)
    if name is not None and settings.use_karras_sigmas is not None:
        plain, _ = split_name(name or known.own)
        wanted = f"{plain} Karras" if settings.use_karras_sigmas else plain
        name = find_scheduler(wanted, known.classes, known.own)
    if name is None:
        karras = "" if settings.use_karras_sigmas is None else f" with USE_KARRAS_SIGMAS={settings.use_karras_sigmas:d}"
        raise ModelUnavailable(
            f"DEFAULT_SCHEDULER={settings.default_scheduler}{karras} does not fit {model}; known are "
            f"{', '.join(known.classes)}."
        )
    if name:
        pipeline.scheduler = family.noise_schedulers[name].make(pipeline.scheduler)


def weight_bytes(folder: Path, dtype: torch.dtype, left_out: Collection[str] = ()) -> dict[str, int]:
    """Return the bytes that the weights of every component take in `dtype`, read from the headers of their files.

    What the pipeline does not name, or is told to leave out, lies beside it for others and is not loaded.
    """
    sizes = {name: _bytes_in(folder / name, dtype) for name in _parts_of(folder) if name not in left_out}
    return {name: size for name, size in sizes.items() if size}


def _parts_of(folder: Path) -> list[str]:
    """Return the components that a model's pipeline is made of."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [name for name, entry in index.items() if isinstance(entry, list) and any(entry)]


def _refuse_if_incomplete(model: str, folder: Path, family: Family) -> None:
    """Raise ModelUnavailable where a component has no folder: what loads it might make an empty one instead."""
    elsewhere = family.separate_text_encoder
    without = {*family.loading, *((elsewhere.component, elsewhere.tokenizer) if elsewhere else ())}
    missing = [name for name in _parts_of(folder) if name not in without and not (folder / name).is_dir()]
    if missing:
        raise ModelUnavailable(f"{model} is not whole: its folder has no {' and no '.join(missing)}.")


def _bytes_in(component: Path, dtype: torch.dtype) -> int:
    files = list(component.glob("*.safetensors"))
    # Beside them may lie the same in another format: SDXL's UNet has a `diffusion_pytorch_model.fp16.safetensors` too.
    plain = [file for file in files if PLAIN_WEIGHTS.fullmatch(file.name)]
    return sum(sum(_elements(file)) for file in plain or files) * dtype.itemsize


def fingerprint(folder: Path) -> str:
    """Return a short name of the folder's content, from its configuration and the headers and sizes of its weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".json":
            digest.update(file.read_bytes())
        elif file.suffix == ".safetensors":
            with file.open("rb") as content:
                digest.update(content.read(65536))
            digest.update(f"{file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _elements(file: Path) -> list[int]:
    """Return the element count of every tensor in a safetensors file, from its header alone."""
    with contextlib.suppress(ValueError, KeyError, OSError), file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(min(size, 100_000_000)))
        counts = []
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for length in tensor["shape"]:
                    count *= length
                counts.append(count)
        return counts
    return []


def _family_in(folder: Path, model: str, entry: ModelEntry) -> Family:
    try:
        pipeline_class = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{model} has no readable model_index.json, so it is no diffusers folder.") from error
    family = family_of(str(pipeline_class))
    if family is None:
        known = ", ".join(published_class(family) for family in FAMILIES)
        raise ModelUnavailable(f"{model} is a {pipeline_class}, which this server cannot serve; it knows {known}.")
    if entry.family not in (None, family.name):
        raise ModelUnavailable(f"{model} should be of the family {entry.family}, but its files are {family.name}.")
    return family


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return devices.default_dtype(device)
    dtype: torch.dtype = getattr(torch, name)
    return dtype
