"""Accelerate the loaded denoiser once, at the start; an option that the device or model lacks is an error.

Options that do nothing or change pixels are left out on purpose (diffusers 0.42): fuse_qkv_projections does nothing to
Qwen-Image, VAE slicing does nothing to a decoder with one image at a time, VAE tiling changes pixels (VAE_TILING
asks for it), and channels_last is refused by the VAE's 5-dimensional weights, whose 2-D form
`single_frame_vae.py` has that layout already.

The step caches are in `caching/`.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.caching import QualityTiers
from imageserver.engine.capturing.captured_forwards import EAGER_CALLS, CapturedForwards
from imageserver.engine.capturing.cuda_graphs import open_graphs
from imageserver.engine.devices import devices
from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.devices.memory_plans import MemoryPlan
from imageserver.engine.downloads import ModelUnavailable, Report
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Message, Run
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# The share of the free memory that captured forwards may take.
SHARE_FOR_GRAPHS = 0.1


def accelerate(denoiser: Any, settings: Settings, report: Report) -> None:
    """Apply the settings; raises ModelUnavailable naming the setting that does not work."""
    if settings.attention_backend:
        try:
            denoiser.set_attention_backend(settings.attention_backend)
        except (ValueError, RuntimeError, ImportError, AttributeError) as error:
            name = settings.attention_backend
            raise ModelUnavailable(f"ATTENTION_BACKEND={name} cannot be used: {_first_line(error)}") from error
    if settings.compile:
        report("compiling", "The denoiser's repeated blocks are being compiled.", None)
        # Imported here: dynamo takes a second to import, which only COMPILE=1 needs.
        from torch._dynamo import config as dynamo
        from torch.fx.experimental import _config as symbolic_shapes

        # By default dynamo takes two sizes that happen to be equal for one, compiles each image size again, and after 8
        # variants of a block goes on without compiling and without a word. So 6 variants serve every size and batch;
        # each LoRA that is loaded or unloaded may need 12 more.
        symbolic_shapes.use_duck_shape = False
        dynamo.recompile_limit, dynamo.accumulated_recompile_limit = 512, 4096
        try:
            denoiser.compile_repeated_blocks(dynamic=True)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise ModelUnavailable(f"COMPILE=1 cannot be used with this model: {_first_line(error)}") from error


def compile_tiers(
    runner: PipelineRunner, forward: Forward, tiers: QualityTiers, settings: Settings, report: Report, side: int = 512
) -> None:
    """Generate a fast image and an exact one beside it, so that their code is compiled before the first request.

    `side` is that of a square image whose forwards are compiled. Compiling took up to 46 s for the demo model, close to
    the silence after which the dispatcher gives an engine up.
    Raises ModelUnavailable when an image fails.
    """
    report("compiling", f"What QUALITY_CACHE={settings.quality_cache} adds is being compiled.", None)
    failures: list[str] = []

    def collect_failure(message: Message, raw: bytes) -> None:
        if isinstance(message, Failed):
            failures.append(message.sentence)

    scheduler = StepScheduler({"": ServedModel(runner, forward, tiers=tiers)}, collect_failure)
    fast = Generation(
        prompt="a red circle", negative_prompt=" ", width=side, height=side, steps=20, true_cfg_scale=4.0, seed=0,
        quality="fast",
    )  # fmt: skip
    fast, source = runner.warmup_generation(fast)
    scheduler.add(Run(job=0, generation=fast), source)
    scheduler.step()
    # As if it had waited, it goes first: on a busy machine it could begin when the fast one had ended.
    exact = dataclasses.replace(fast, quality="exact", steps=2)
    scheduler.add(Run(job=1, generation=exact, waited=3600.0), source)
    while scheduler.busy:
        scheduler.step()
    if failures:
        name = settings.quality_cache
        raise ModelUnavailable(f"QUALITY_CACHE={name} cannot be used with COMPILE=1: {failures[0]}")


def open_captured_forwards(
    forward: Forward, settings: Settings, device: torch.device, plan: MemoryPlan, adapters: LoraAdapters
) -> CapturedForwards | None:
    """Return captured forwards, or None without CUDA_GRAPHS=1 and where weights move; raises ModelUnavailable."""
    if not settings.cuda_graphs:
        return None
    graphs = open_graphs(device)
    if plan.offload != "none" or plan.spread:
        logger.info("CUDA_GRAPHS=1 has no effect with MEMORY=%s, which moves or spreads the weights.", plan.name)
        return None
    max_bytes = int(devices.free_memory(device) * SHARE_FOR_GRAPHS)
    return CapturedForwards(forward, graphs, max_bytes, adapters.weights)


def capture_calls(captured: Forward, calls: Iterable[Mapping[str, Any]]) -> None:
    """Compute every call until it is captured, so that the first client finds it so."""
    for call in calls:
        for _ in range(EAGER_CALLS + 1):
            captured(**call)


def explain_failed_measurement(settings: Settings, device: torch.device, error: Exception) -> ModelUnavailable:
    """Return the error for a first forward that failed, naming the settings that may be the cause."""
    switched_on = [f"ATTENTION_BACKEND={settings.attention_backend}"] if settings.attention_backend else []
    switched_on += ["COMPILE=1"] if settings.compile else []
    blame = f"; try without {' and '.join(switched_on)}" if switched_on else ""
    return ModelUnavailable(f"The first forward on {device} failed: {_first_line(error)}{blame}.")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:600].rstrip(".") if lines else type(error).__name__
