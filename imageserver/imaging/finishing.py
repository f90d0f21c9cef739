"""From the engine's pixels to finished files: overlay, metadata and encoding."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import overlay
from imageserver import __version__
from imageserver.generation import Generation, ModelInfo, Outcome, OutputFormat
from imageserver.imaging.encoding import encode
from imageserver.imaging.metadata import RAW_PROMPT, ImageMetadata
from imageserver.imaging.provenance.manifests.claims import Ingredient, ManifestClaim, ingredients_in
from imageserver.imaging.provenance.request_fields import request_fields, sent_images
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.imaging.provenance.xmp import SourceType

if TYPE_CHECKING:
    # It imports c2pa, which need not be installed.
    from imageserver.imaging.provenance.manifests.signer import ManifestSigner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedImages:
    """The files of a generation, in order; one `lacks_manifest` where a signer was there and c2pa refused to sign."""

    files: tuple[bytes, ...]
    lacks_manifest: bool = False


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
    signer: "ManifestSigner | None" = None,
    ingredients: tuple[Ingredient, ...] = (),
) -> FinishedImages:
    """Return the encoded files of a generation; `aspect_ratio_name` None means no overlay.

    Every layer is a file of its own, without an overlay. A `sealer` marks and seals what a model has generated,
    and then a `signer` adds a manifest that names the images of the request, its `ingredients`.
    """
    images = np.frombuffer(pixels, np.uint8).reshape(-1, outcome.height, outcome.width, outcome.channels)
    generated = generation.generated_steps > 0
    # The certificate may have expired while the request waited.
    signer = signer if signer and generated and signer.certificate.is_valid else None
    claim = _claim_of(generation, info, ingredients)
    files: list[bytes] = []
    lacks_manifest = False
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
        encoded = partial(
            encode,
            shown,
            output_format=output_format,
            compression=compression,
            metadata=_metadata_of(outcome, generation, info, seed, request),
            source_type=_source_type(generation),
            sealer=sealer if generated else None,
        )
        signed = _signed(encoded, signer, output_format, claim) if signer else None
        lacks_manifest |= signer is not None and signed is None
        files.append(signed or encoded())
    return FinishedImages(tuple(files), lacks_manifest)


def _signed(
    encoded: Callable[..., bytes], signer: "ManifestSigner", output_format: OutputFormat, claim: ManifestClaim
) -> bytes | None:
    """Return a file with a manifest, None where it cannot be signed: its image must not be lost for that."""
    # Only where something signs is c2pa installed.
    from imageserver.imaging.provenance.manifests.signer import SigningFailed

    data = encoded(manifest_serial=signer.certificate.serial)
    try:
        return signer.signed(data, output_format, claim)
    except SigningFailed as error:
        logger.error("An image has no C2PA manifest, because it could not be signed: %s", error)
        return None


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
        model_hash=info.weights_hash if info else None,
        version=__version__,
        extra={"batch_size": outcome.batch_size, "inference_time": round(outcome.inference_time, 2)}
        | ({"Loras": loras} if loras else {})
        | _second_stage(generation)
        | ({RAW_PROMPT: generation.enhancement.prompt} if outcome.revised_prompt and generation.enhancement else {}),
        request=request,
        inputs=sent_images(generation),
    )


def _source_type(generation: Generation) -> SourceType:
    """Return IPTC's name of the origin: what a mask keeps was not generated."""
    masked = generation.source is not None and generation.source.masked
    return "compositeWithTrainedAlgorithmicMedia" if masked else "trainedAlgorithmicMedia"


def _claim_of(generation: Generation, info: ModelInfo | None, ingredients: tuple[Ingredient, ...]) -> ManifestClaim:
    return ManifestClaim(
        model=info.name if info else "",
        source_type=_source_type(generation),
        # A task that another process has taken over has the pixels of its images, and not their files.
        ingredients=ingredients or ingredients_in(generation),
    )


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
