"""Load a model whose files are on the disk: assemble its pipeline, put it on the device and describe it."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers

from imageserver.engine.card_group.sharding.sharded_denoiser import sharded_layers
from imageserver.engine.devices import devices, placement
from imageserver.engine.devices.memory import bytes_of
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.downloads import ModelUnavailable, Report
from imageserver.engine.downloads.file_choice import INDEX
from imageserver.engine.families import published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models.components import load_components
from imageserver.engine.models.load_errors import explaining_load_errors
from imageserver.engine.models.model_choice import FoundModel, recommended_instead
from imageserver.engine.models.weight_files import sharded_weights, transformer_file, weights
from imageserver.engine.models.weight_files.checkpoint import Checkpoint
from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulers
from imageserver.engine.pipelines.texts import separate_text_encoder
from imageserver.engine.pipelines.texts.separate_text_encoder import SeparateTextEncoder
from imageserver.engine.pipelines.types import Pipeline
from imageserver.engine.runner import controlnet
from imageserver.generation import DeviceInfo, ModelInfo
from imageserver.schedulers import find_scheduler, split_name


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, the ControlNets beside it, and its description for clients."""

    pipeline: Pipeline
    family: Family
    info: ModelInfo
    controls: tuple[torch.nn.Module, ...] = ()


def load(found: FoundModel, report: Report) -> LoadedModel:
    """Load a model; raises ModelUnavailable."""
    began = time.monotonic()
    settings, family, device = found.settings, found.family, found.device
    plan, plan_reason = found.plan()
    controls = tuple(
        controlnet.load(folder, family, found.folder, found.dtype, device) for folder in found.control_folders
    )
    size = found.weights.total / 1e9
    reasons = " ".join(reason for reason in (plan_reason, found.dtype_reason) if reason)
    report("loading", f"{found.name}: {size:.2f} GB of weights are being loaded. {reasons}", None)
    single_frame_vae.install()
    # Their progress bars would break our log lines; the log and /startupz report progress.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if not settings.log_prompts:
        silence_warnings()
    with explaining_load_errors(found.name, found.folder):
        pipeline = _assemble(found, plan)
        pipeline.set_progress_bar_config(disable=True)
        family.customize(pipeline)
        _choose_noise_scheduler(pipeline, found)
        if settings.vae_tiling:
            pipeline.vae.enable_tiling()
        placement.move_to_device(pipeline, plan, device)
    on_device = DeviceInfo(
        kind=device.type,
        gpu=devices.gpu_name(device),
        cuda_version=devices.cuda_version(device),
        dtype=str(found.dtype).removeprefix("torch."),
        memory_mb=round(devices.used_memory(device) / devices.MIB, 2),
        memory_plan=plan.name,
        memory_reason=plan_reason,
        vae_tiling=bool(settings.vae_tiling),
        cards=found.cards if plan.sharded else (),
    )
    info = dataclasses.replace(
        _describe(found, pipeline, controls), device=on_device, load_time=round(time.monotonic() - began, 2)
    )
    return LoadedModel(pipeline, family, info, controls)


def silence_warnings() -> None:
    """Let the libraries say errors only: warnings quote the prompts that they cut, past our log and its filter."""
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()


def _assemble(found: FoundModel, plan: MemoryPlan) -> Pipeline:
    """Return the pipeline of a folder, with the components that come from elsewhere."""
    family, folder, dtype, device = found.family, found.folder, found.dtype, found.device
    place = placement.place_of(plan, family.denoiser, device)
    given = transformer_file.load(found.settings, folder, family.denoiser, dtype, place)
    if found.checkpoint is not None:
        if plan.spread:
            raise ModelUnavailable(f"{found.name} is a single file, which MEMORY={plan.name} cannot load.")
        return _assemble_checkpoint(found, found.checkpoint, given)
    if plan.sharded:
        part = sharded_weights.load(folder, family.denoiser, dtype, device, part=0, parts=len(found.cards))
        given[family.denoiser] = part
    given |= family.load_components(folder)
    if found.encoder_folder is not None and family.separate_text_encoder is not None:
        given |= _separate_text_encoder(found, family.separate_text_encoder, plan)
    given |= load_components(folder, plan, dtype, device, left_out={*given, *family.loading})
    # Source: diffusers `DiffusionPipeline.from_pretrained`: whole components, the largest first.
    spread = {"device_map": "balanced"} if plan.spread else {}
    # Only the class itself knows which of its components are optional: DiffusionPipeline would load what is left out.
    return getattr(diffusers, published_class(family)).from_pretrained(
        str(folder), dtype=dtype, variant=weights.variant(folder), use_safetensors=True, local_files_only=True,
        **spread, **given, **family.loading,
    )  # fmt: skip


def _assemble_checkpoint(found: FoundModel, checkpoint: Checkpoint, given: dict[str, Any]) -> Pipeline:
    """Return the pipeline of a single file, with the configuration of the model that it was trained from."""
    index = json.loads((found.folder / INDEX).read_text(encoding="utf-8"))
    pipeline = getattr(diffusers, index["_class_name"]).from_single_file(
        str(checkpoint.file), config=str(found.folder), torch_dtype=found.dtype, local_files_only=True,
        **given, **found.family.loading,
    )  # fmt: skip
    if checkpoint.noise:
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **checkpoint.noise)
    return pipeline


def _separate_text_encoder(found: FoundModel, encoder: SeparateTextEncoder, plan: MemoryPlan) -> dict[str, Any]:
    assert found.encoder_folder is not None
    options = placement.loading_options(plan, encoder.component, "transformers", found.device)
    loaded = separate_text_encoder.load(encoder, found.encoder_folder, found.dtype, options)
    placement.put_to_rest(loaded[encoder.component], plan, encoder.component, found.device)
    return loaded


def _choose_noise_scheduler(pipeline: Pipeline, found: FoundModel) -> None:
    """Make the owner's choice the model's own noise scheduler; raises ModelUnavailable for one that does not fit."""
    settings, family = found.settings, found.family
    known = NoiseSchedulers(pipeline.scheduler, family.noise_schedulers)
    name = find_scheduler(settings.default_scheduler, known.classes, known.own)
    if name is not None and settings.use_karras_sigmas is not None:
        plain, _ = split_name(name or known.own)
        wanted = f"{plain} Karras" if settings.use_karras_sigmas else plain
        name = find_scheduler(wanted, known.classes, known.own)
    if name is None:
        karras = "" if settings.use_karras_sigmas is None else f" with USE_KARRAS_SIGMAS={settings.use_karras_sigmas:d}"
        raise ModelUnavailable(
            f"DEFAULT_SCHEDULER={settings.default_scheduler}{karras} does not fit {found.name}; known are "
            f"{', '.join(known.classes)}."
        )
    if name:
        pipeline.scheduler = family.noise_schedulers[name].make(pipeline.scheduler)


def _describe(found: FoundModel, pipeline: Pipeline, controls: Sequence[torch.nn.Module]) -> ModelInfo:
    """Return the description of a loaded model for clients, without its device."""
    family, entry = found.family, found.entry
    defaults = family.defaults(pipeline)
    schedulers = NoiseSchedulers(pipeline.scheduler, family.noise_schedulers)
    modules = [part for part in (*pipeline.components.values(), *controls) if isinstance(part, torch.nn.Module)]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    elsewhere = sum(layer.elements_elsewhere for module in modules for layer in sharded_layers(module))
    revision = "".join(weights.fingerprint(folder) for folder in found.folders)
    if found.checkpoint is not None:
        revision += f"+{weights.fingerprint_of_file(found.checkpoint.file)}"
    return ModelInfo(
        name=found.name,
        family=family.name,
        reason=found.reason,
        source=entry.source,
        revision=revision + transformer_file.fingerprint(found.settings),
        parameters=sum(parameter.numel() for parameter in parameters) + elsewhere,
        size_mb=round(sum(map(bytes_of, parameters)) / devices.MIB, 2),
        kinds=tuple(controlnet.kinds_of(family, controlled=bool(controls))),
        max_images=family.max_images,
        layers=family.layers,
        transparency=family.transparency,
        default_steps=defaults.steps if entry.steps is None else entry.steps,
        default_true_cfg_scale=defaults.guidance if entry.guidance is None else entry.guidance,
        default_size=entry.width_and_height,
        guidance=family.guidance,
        positive_magic=dict(family.positive_magic),
        scheduler=type(pipeline.scheduler).__name__,
        sampler=schedulers.own,
        schedulers=schedulers.classes,
        recommended=recommended_instead(found),
    )
