"""Make a model ready to generate: load it, accelerate it, measure its batches and describe it."""

import dataclasses
import importlib.metadata
import logging
import time
from typing import Any

import torch

from imageserver.engine import caching
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.caching import Calibration, QualityTiers
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.device_errors import is_lost
from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.batch_limits import BatchLimits, Forward, SizeLimit, load_or_measure, seconds_of
from imageserver.engine.devices.memory import live_tensors
from imageserver.engine.downloads import Report
from imageserver.engine.language.image_captioner import open_image_captioner
from imageserver.engine.language.prompt_writer import open_prompt_writer
from imageserver.engine.models.acceleration import (
    accelerate,
    capture_calls,
    compile_tiers,
    explain_failed_measurement,
    open_captured_forwards,
)
from imageserver.engine.models.compiling.faster_forward import FasterForward, eagerly
from imageserver.engine.models.compiling.rehearsal import Rehearsal, compile_calls
from imageserver.engine.models.loading import LoadedModel, load
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.models.on_cards.sharded_model import ShardedModel
from imageserver.engine.models.on_cards.shared_model import SharedModel
from imageserver.engine.models.probe_calls import (
    LONG_PROMPT,
    largest_call,
    probe_call,
    probe_pair,
    probed_calls,
    rehearsed_calls,
    suspended_call,
)
from imageserver.engine.pipelines.decoding.interruptible_decoder import InterruptibleDecoder
from imageserver.engine.pipelines.decoding.tiles import decode_in_tiles_when_full
from imageserver.engine.pipelines.suspension import Gate, SetContext
from imageserver.engine.runner.lora_adapters import open_adapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import ModelInfo
from imageserver.lora_folder import open_folder
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# More suspended images would only wait, which they can do in the queue.
MAX_IN_FLIGHT = 64
# The share of the free memory that suspended images may take; the rest is for forwards and decoding.
SHARE_FOR_SUSPENDED = 0.25
# Between the two passes of guidance an image keeps one more result than at the first call; prompts may be longer.
SUSPENDED_OVERHEAD = 2.0


def load_and_warm_up(
    found: FoundModel, report: Report, group: CardGroup | None = None
) -> tuple[ServedModel, ModelInfo]:
    """Load a model, measure it on its device, or on a group of devices, and describe it; raises ModelUnavailable."""
    began = time.monotonic()
    settings, device = found.settings, found.device
    model = load(found, report)
    shared = _on_cards(group, found, model) if group else None
    denoiser = getattr(model.pipeline, model.family.denoiser)
    accelerate(denoiser, settings, report)
    decode_in_tiles_when_full(model.pipeline.vae, lambda: devices.release_cached(device))
    if not devices.is_accelerator(device) and hasattr(model.pipeline.vae, "decoder"):
        # On a card decoding takes tens of milliseconds, and its memory is scarcer.
        InterruptibleDecoder(model.pipeline.vae)
    gate = Gate(denoiser)
    plan = model.info.device.memory_plan
    adapters = open_adapters(
        model.pipeline, model.family.denoiser, open_folder(settings), compiled=settings.compile, plan=plan,
        reinstall_gate=gate.install,
    )  # fmt: skip
    runner = PipelineRunner(model.pipeline, model.family, gate.install, adapters, model.controls)
    forward = synchronized(gate.forward, device)
    captured = None
    if group is None:
        captured = open_captured_forwards(gate.forward, settings, device, memory_plans.BY_NAME[plan], adapters)
    report("measuring", f"{model.info.name} is being measured on the device.", None)
    compiled_side = None
    try:
        if settings.compile:
            # Before anything is timed: a forward that is being compiled takes many seconds.
            calls, compiled = rehearsed_calls(runner, settings.max_pixels), forward
            compile_calls(compiled, calls, model.family.merger)
            forward, compiled_side = _where_faster(settings, model, runner, compiled)
            if compiled_side is not None:
                adapters.rehearse = Rehearsal(compiled, calls, model.family.merger, report, adapters.count_graphs)
        caps = _caps(settings, model, runner, forward, device)
        # Fits the map now, not for the first client.
        _ = runner.preview_map
        # Also the first forward of the process, which is slow: now, not for the first client.
        solo = seconds_of(forward, probe_call(runner, 512))
        cards = shared.open(forward, adapters, lambda side: probe_call(runner, side)) if shared else None
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if is_lost(error):
            raise
        raise explain_failed_measurement(settings, device, error) from error
    language_model = model.family.language_model(model.pipeline)
    stays = memory_plans.BY_NAME[plan].offload == "none"
    served = ServedModel(
        runner=runner,
        forward=forward,
        merger=model.family.merger,
        cap_of=caps.cap_of if cards is None else lambda pixels: caps.cap_of(pixels) * cards.size,
        mixes_lengths=caps.mixes_lengths,
        tiers=_tiers(settings, model, gate, forward, runner, report, compiled_side),
        adapters=adapters,
        captured=captured,
        cards=cards,
        prompt_writer=open_prompt_writer(
            language_model,
            max_chars=settings.max_prompt_chars,
            edits="edit" in model.info.kinds,
            stays=stays,
        ),
        image_captioner=open_image_captioner(language_model, getattr(model.pipeline, "processor", None), stays=stays),
    )
    served.costs.observe(512 * 512, 1, solo)
    if captured is not None:
        capture_calls(captured, probed_calls(runner, model.family.merger, caps, settings.max_pixels))
    if memory_plans.BY_NAME[plan].offload == "model":
        # Only the end of a pipeline call moves the denoiser off the device, and these forwards ran outside of one: the
        # first client's text encoder would have found no room beside it.
        model.pipeline.maybe_free_model_hooks()
        gate.install()
    info = dataclasses.replace(
        model.info,
        revision=_revision(settings, model),
        enhances=served.prompt_writer is not None,
        captions=served.image_captioner is not None,
        load_time=round(time.monotonic() - began, 2),
        device=dataclasses.replace(
            model.info.device,
            batch_caps=caps.describe(),
            max_in_flight=_max_in_flight(settings, model, runner, device),
            memory_mb=round(devices.used_memory(device) / devices.MIB, 2),
            cards=group.devices if group else (),
            cards_reason=shared.reason if shared else "",
        ),
    )
    return served, info


def _on_cards(group: CardGroup, found: FoundModel, model: LoadedModel) -> SharedModel | ShardedModel:
    sharded = memory_plans.BY_NAME[model.info.device.memory_plan].sharded
    return ShardedModel(group, found, model) if sharded else SharedModel(group, found, model)


def synchronized(forward: Forward, device: torch.device) -> Forward:
    """Return a forward that waits for the device: without it the host runs ahead, and a cancel comes steps too late."""
    if not devices.is_accelerator(device):
        return forward

    def compute(**arguments: Any) -> Any:
        output = forward(**arguments)
        devices.synchronize(device)
        return output

    return compute


def _where_faster(
    settings: Settings, model: LoadedModel, runner: PipelineRunner, compiled: Forward
) -> tuple[Forward, int | None]:
    """Return the forward that is compiled only where that is faster, and the side of a size that is compiled."""
    forward = FasterForward(compiled, eagerly(compiled), model.family.merger)
    forward.measure(lambda side: probe_call(runner, side), settings.max_pixels)
    return forward, min(forward.compiled_sides, default=None)


def _caps(
    settings: Settings, model: LoadedModel, runner: PipelineRunner, forward: Forward, device: torch.device
) -> BatchLimits:
    merger = model.family.merger
    is_sharded = memory_plans.BY_NAME[model.info.device.memory_plan].sharded
    if is_sharded and devices.is_accelerator(device):
        # Memory that runs out in a forward ends the engine: not under a client's request, which would end it again.
        # Of one image: those of a batch that was too large are generated one by one by the next engine.
        logger.info("A forward of MAX_PIXELS is tried; if memory runs out in it, a smaller MAX_PIXELS may fit.")
        forward(**largest_call(runner, settings.max_pixels))
    if merger is None or settings.max_batch == 1:
        return BatchLimits({}, 1)
    if is_sharded:
        # No larger batches are tried than somebody has asked for.
        return BatchLimits({settings.max_pixels: SizeLimit(max(1, settings.max_batch))}, settings.max_batch)
    fingerprint = f"{_revision(settings, model)}/{torch.get_num_threads()}/{settings.max_pixels}"
    file = settings.resolve(settings.state_dir) / "batch_caps.json"
    caps = load_or_measure(
        file, fingerprint, forward, merger, lambda side: probe_pair(runner, side), settings.max_pixels,
        devices.free_memory(device),
    )  # fmt: skip
    return BatchLimits(caps, settings.max_batch)


def _tiers(
    settings: Settings,
    model: LoadedModel,
    gate: Gate,
    forward: Forward,
    runner: PipelineRunner,
    report: Report,
    compiled_side: int | None,
) -> QualityTiers | None:
    denoiser = getattr(model.pipeline, model.family.denoiser)
    if memory_plans.BY_NAME[model.info.device.memory_plan].sharded:
        # Caches skip blocks on rank 0, in which the other ranks would wait for it.
        return None

    def calibrate(set_context: SetContext) -> Calibration:
        def measure() -> Calibration:
            report("measuring", f"{model.info.name}: one image is generated to calibrate QUALITY_CACHE=magcache.", None)
            return caching.measure(denoiser, set_context, forward, runner)

        file = settings.resolve(settings.state_dir) / "magnitudes.json"
        return caching.load_or_measure(file, _revision(settings, model), measure)

    tiers = caching.open_tiers(settings, denoiser, gate.set_context, forward, calibrate)
    if compiled_side is not None and tiers is not None:
        compile_tiers(runner, forward, tiers, settings, report, compiled_side)
    return tiers


def _revision(settings: Settings, model: LoadedModel) -> str:
    """Return a name of everything that decides the pixels and the speed, such as weights, device and versions."""
    info = model.info
    versions = "/".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers", "transformers"))
    plan = f"{info.device.memory_plan}{len(info.device.cards) or ''}"
    fitted = f"{plan}/{settings.vae_tiling}/{settings.safety_checker}/{info.sampler}"
    options = f"{settings.attention_backend}/{settings.compile}/{fitted}/{settings.quality_cache}"
    return f"{info.revision}/{info.device.gpu}/{info.device.dtype}/{versions}/{options}"


def _max_in_flight(settings: Settings, model: LoadedModel, runner: PipelineRunner, device: torch.device) -> int:
    if memory_plans.BY_NAME[model.info.device.memory_plan].offload == "model":
        # One component at a time is on the device: a second job's text encoder would evict the transformer, or not fit.
        return 1
    return settings.max_in_flight or _max_suspended(runner, device)


def _max_suspended(runner: PipelineRunner, device: torch.device) -> int:
    """Return how many suspended images of 1024 x 1024 fit, by the tensors that one of them keeps alive."""
    before = live_tensors()
    with suspended_call(runner, 1024, LONG_PROMPT):
        during = live_tensors()
    bytes_each = SUSPENDED_OVERHEAD * sum(during[address] for address in during.keys() - before.keys())
    return max(1, min(MAX_IN_FLIGHT, int(devices.free_memory(device) * SHARE_FOR_SUSPENDED / max(1, bytes_each))))
