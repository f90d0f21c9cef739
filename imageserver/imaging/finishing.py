"""From the engine's pixels to finished files: overlay, metadata and encoding."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import overlay
from imageserver import __version__
from imageserver.generation import Generation, ModelInfo, Outcome, OutputFormat
from imageserver.imaging.encoding import encode
from imageserver.imaging.metadata import ImageMetadata
from imageserver.imaging.provenance.request_fields import request_fields, sent_images
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.imaging.provenance.xmp import SourceType


def finish(
    pixels: bytes,
    outcome: Outcome,
    generation: Generation,
    info: ModelInfo | None,
    *,
    output_format: OutputFormat,
    compression: int | None,
    aspect_ratio_name: str | None,
    font_path: Path | None,
    sealer: Sealer | None = None,
) -> list[bytes]:
    """Return the encoded files of a generation, in order; `aspect_ratio_name` None means no overlay.

    Every layer is a file of its own, without an overlay. A `sealer` marks and seals what a model has generated.
    """
    images = np.frombuffer(pixels, np.uint8).reshape(-1, outcome.height, outcome.width, outcome.channels)
    files = []
    for image, seed in zip(images, outcome.seeds, strict=True):
        shown = image
        if aspect_ratio_name is not None and outcome.channels == 3:
            shown = _with_overlay(image, outcome, info, aspect_ratio_name, font_path)
        request = request_fields(
            generation,
            info,
            seed=seed,
            output_format=output_format,
            compression=compression,
            overlay=aspect_ratio_name is not None,
        )
        data = encode(
            shown,
            output_format=output_format,
            compression=compression,
            metadata=_metadata_of(outcome, generation, info, seed, request),
            source_type=_source_type(generation),
            sealer=sealer if generation.generated_steps else None,
        )
        files.append(data)
    return files


def _metadata_of(
    outcome: Outcome, generation: Generation, info: ModelInfo | None, seed: int, request: dict[str, Any]
) -> ImageMetadata:
    loras = ", ".join(f"{lora.name}:{lora.scale:g}" for lora in generation.loras)
    return ImageMetadata(
        prompt=generation.prompt,
        negative_prompt=generation.negative_prompt,
        steps=generation.steps,
        sampler=info.sampler_of(generation) if info else generation.scheduler,
        cfg_scale=generation.true_cfg_scale,
        seed=seed,
        width=outcome.width,
        height=outcome.height,
        model=info.name if info else "",
        version=__version__,
        extra={"batch_size": outcome.batch_size, "inference_time": round(outcome.inference_time, 2)}
        | ({"Loras": loras} if loras else {})
        | _second_stage(generation),
        request=request,
        inputs=sent_images(generation),
    )


def _source_type(generation: Generation) -> SourceType:
    """Return IPTC's name of the origin: what a mask keeps was not generated."""
    masked = generation.source is not None and generation.source.masked
    return "compositeWithTrainedAlgorithmicMedia" if masked else "trainedAlgorithmicMedia"


def _second_stage(generation: Generation) -> dict[str, Any]:
    """Return the settings of a second stage, by AUTOMATIC1111's names."""
    upscale = generation.upscale
    if upscale is None:
        return {}
    factor = round(upscale.width / generation.width, 2)
    return {
        "Denoising strength": upscale.strength, "Hires upscale": factor, "Hires steps": upscale.steps,
        "Hires upscaler": "Lanczos",
    }  # fmt: skip


def _with_overlay(
    pixels: np.ndarray[Any, Any], outcome: Outcome, info: ModelInfo | None, aspect_ratio_name: str, font: Path | None
) -> np.ndarray[Any, Any]:
    lines = overlay.panel_lines(
        model=info.name if info else "unknown",
        aspect_ratio=aspect_ratio_name,
        width=outcome.width,
        height=outcome.height,
        inference_time=outcome.inference_time,
        gpu=info.device.gpu if info else "unknown",
        cuda=info.device.cuda_version if info else "unknown",
        when=datetime.now().astimezone(),
    )
    return np.asarray(overlay.draw_overlay(Image.fromarray(pixels), lines, font))
