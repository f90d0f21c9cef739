"""Make a model ready to be generated with: loaded, made faster, its batches measured, and described."""

import contextlib
import dataclasses
import importlib.metadata
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from imageserver.engine import caching
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.caching import Calibration, QualityTiers
from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.batch_limits import BatchLimits, Forward, load_or_measure, seconds_of
from imageserver.engine.devices.memory import living_tensors
from imageserver.engine.downloads import Report
from imageserver.engine.models.acceleration import accelerate, explain_failed_measurement, rehearse
from imageserver.engine.models.loading import FoundModel, LoadedModel, load
from imageserver.engine.pipelines.merging import Merger
from imageserver.engine.pipelines.suspension import Gate, SetContext, Track, TrackCancelled
from imageserver.engine.pipelines.tiled_decoding import decode_in_tiles_when_full
from imageserver.engine.runner.lora_adapters import open_adapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation, ModelInfo
from imageserver.lora_folder import open_folder
from imageserver.settings import Settings

# Beyond this, more suspended images only wait; the queue can hold them as well.
MAX_IN_FLIGHT = 64
# The share of the free memory that suspended images may take; the rest is for forwards and decoding.
SHARE_FOR_SUSPENDED = 0.25
# Between the two passes of guidance one more result is held than at the first call, and prompts may be longer.
HELD_BESIDE = 2.0


@dataclass(frozen=True)
class PreparedModel:
    """A model that can be generated with, and what is told about it."""

    served: ServedModel
    facts: ModelInfo


def prepare(found: FoundModel, report: Report) -> PreparedModel:
    """Load a model and measure it on its device; raises ModelUnavailable."""
    began = time.monotonic()
    settings, device = found.settings, found.device
    model = load(found, report)
    denoiser = getattr(model.pipeline, model.family.denoiser)
    accelerate(denoiser, settings, report)
    decode_in_tiles_when_full(model.pipeline.vae, lambda: devices.release_cached(device))
    gate = Gate(denoiser)
    plan = model.facts.device.memory_plan
    adapters = open_adapters(
        model.pipeline, model.family.denoiser, open_folder(settings), compiled=settings.compile, plan=plan
    )
    painter = PipelineRunner(model.pipeline, model.family, gate.install, adapters, model.control)
    forward = synchronized(gate.forward, device)
    report("measuring", f"{model.facts.name}: the device is being measured.", None)
    try:
        caps = _caps(settings, model, painter, forward)
        # Fitted at its first use, which is better now than for the first client.
        _ = painter.preview_map
        # Also the first forward of the process, which is slow: better now than for the first client.
        solo = seconds_of(forward, capture_call(painter, 512))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise explain_failed_measurement(settings, device, error) from error
    served = ServedModel(
        painter=painter,
        forward=forward,
        merger=model.family.merger,
        cap_of=caps.cap_of,
        tiers=_tiers(settings, model, gate, forward, painter, report),
        adapters=adapters,
    )
    served.costs.observe(512 * 512, 1, solo)
    facts = dataclasses.replace(
        model.facts,
        revision=_revision(settings, model),
        load_time=round(time.monotonic() - began, 2),
        device=dataclasses.replace(
            model.facts.device,
            batch_caps=caps.describe(),
            max_in_flight=_max_in_flight(settings, model, painter, device),
            memory_mb=round(devices.used_memory(device) / devices.MIB, 2),
        ),
    )
    return PreparedModel(served, facts)


def synchronized(forward: Forward, device: torch.device) -> Forward:
    """Return a forward that waits for the device: without it the host runs ahead, and a cancel comes steps too late."""
    if not devices.is_accelerator(device):
        return forward

    def compute(**arguments: Any) -> Any:
        output = forward(**arguments)
        devices.synchronize(device)
        return output

    return compute


def _caps(settings: Settings, model: LoadedModel, painter: PipelineRunner, forward: Forward) -> BatchLimits:
    def probe(side: int) -> Mapping[str, Any]:
        return capture_call(painter, side)

    merger: Merger | None = model.family.merger
    if merger is None or settings.max_batch == 1:
        return BatchLimits({}, 1)
    fingerprint = f"{_revision(settings, model)}/{torch.get_num_threads()}/{settings.max_pixels}"
    file = settings.resolve(settings.state_dir) / "batch_caps.json"
    caps = load_or_measure(file, fingerprint, forward, merger, probe, settings.max_pixels)
    return BatchLimits(caps, settings.max_batch)


def _tiers(
    settings: Settings, model: LoadedModel, gate: Gate, forward: Forward, painter: PipelineRunner, report: Report
) -> QualityTiers | None:
    denoiser = getattr(model.pipeline, model.family.denoiser)

    def magnitudes(set_context: SetContext) -> Calibration:
        def measure() -> Calibration:
            report(
                "measuring", f"{model.facts.name}: one image is generated to calibrate QUALITY_CACHE=magcache.", None
            )
            return caching.measure(denoiser, set_context, forward, painter)

        file = settings.resolve(settings.state_dir) / "magnitudes.json"
        return caching.load_or_measure(file, _revision(settings, model), measure)

    tiers = caching.open_tiers(settings, denoiser, gate.set_context, forward, magnitudes)
    if settings.compile and tiers is not None:
        rehearse(painter, forward, tiers, settings, report)
    return tiers


def _revision(settings: Settings, model: LoadedModel) -> str:
    """Return the name of all that decides the pixels and the pace: weights, scheduler, device, versions, speed."""
    facts = model.facts
    versions = "/".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers", "transformers"))
    fitted = f"{facts.device.memory_plan}/{settings.vae_tiling}/{settings.safety_checker}/{facts.sampler}"
    chosen = f"{settings.attention_backend}/{settings.compile}/{fitted}/{settings.quality_cache}"
    return f"{facts.revision}/{facts.device.gpu}/{facts.device.dtype}/{versions}/{chosen}"


def capture_call(painter: PipelineRunner, side: int) -> Mapping[str, Any]:
    """Return the arguments of the first denoiser call of a square image; the pipeline is unwound again."""
    with suspended_call(painter, side) as arguments:
        return arguments


@contextlib.contextmanager
def suspended_call(painter: PipelineRunner, side: int, prompt: str = "a red circle") -> Iterator[Mapping[str, Any]]:
    """Hold a square image at its first denoiser call, whose arguments are given; then unwind its pipeline."""
    generation = Generation(
        prompt=prompt, negative_prompt=" ", width=side, height=side, steps=1, true_cfg_scale=4.0, seed=0
    )
    generation, source = painter.rehearsal(generation)
    track = Track(0, 0, lambda: painter.generate(generation, 0, lambda look: None, source))
    track.begin()
    assert track.waiting is not None
    yield track.waiting.arguments
    track.abort(TrackCancelled())


def _max_in_flight(settings: Settings, model: LoadedModel, painter: PipelineRunner, device: torch.device) -> int:
    if memory_plans.BY_NAME[model.facts.device.memory_plan].offload == "model":
        # One model at a time is on the device: a second job's text encoder would push the transformer out, or not fit.
        return 1
    return settings.max_in_flight or _memory_allows(painter, device)


def _memory_allows(painter: PipelineRunner, device: torch.device) -> int:
    """Return how many suspended images of 1024 x 1024 fit, by the tensors that one of them keeps alive."""
    before = living_tensors()
    with suspended_call(painter, 1024, ", ".join(["a red circle on a blue background"] * 8)):
        during = living_tensors()
    held = HELD_BESIDE * sum(during[address] for address in during.keys() - before.keys())
    return max(1, min(MAX_IN_FLIGHT, int(devices.free_memory(device) * SHARE_FOR_SUSPENDED / max(1, held))))
