"""Make the loaded pipeline faster, once, at the start; what this device or model cannot do is said in one sentence.

Left out on purpose is what diffusers accepts but Qwen-Image ignores or breaks on (diffusers 0.42):
PyramidAttentionBroadcast and FasterCache crash, TextKVCache, SeaCache and fuse_qkv_projections do nothing, and VAE
tiling changes pixels.
"""

import torch

from imageserver.engine.pipelines import Pipeline
from imageserver.engine.sources import ModelUnavailable, Report
from imageserver.settings import Settings


def accelerate(pipeline: Pipeline, settings: Settings, report: Report) -> None:
    """Apply the settings; raises ModelUnavailable naming the setting that cannot be had."""
    if settings.attention_backend:
        try:
            pipeline.transformer.set_attention_backend(settings.attention_backend)
        except (ValueError, RuntimeError, ImportError, AttributeError) as error:
            name = settings.attention_backend
            raise ModelUnavailable(f"ATTENTION_BACKEND={name} cannot be used: {_first_line(error)}") from error
    if settings.compile:
        report("compiling", "The transformer's repeated blocks are being compiled.", None)
        try:
            pipeline.transformer.compile_repeated_blocks(dynamic=True)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise ModelUnavailable(f"COMPILE=1 cannot be used with this model: {_first_line(error)}") from error


def explain_failed_measurement(settings: Settings, device: torch.device, error: Exception) -> ModelUnavailable:
    """Return the sentence for a first forward that failed, naming what was switched on."""
    switched_on = [f"ATTENTION_BACKEND={settings.attention_backend}"] if settings.attention_backend else []
    switched_on += ["COMPILE=1"] if settings.compile else []
    blame = f"; try without {' and '.join(switched_on)}" if switched_on else ""
    return ModelUnavailable(f"The first forward on {device} failed: {_first_line(error)}{blame}.")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
