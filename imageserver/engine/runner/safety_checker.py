"""An optional check of every finished image (SAFETY_CHECKER): images that it finds unsafe are sent as black.

It runs on the CPU, beside the device. Source: diffusers `StableDiffusionSafetyChecker`, made for Stable Diffusion 1.x;
it reads only the images, so it serves every family, and it errs both ways.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from imageserver.engine.downloads import ModelUnavailable, Report, locate
from imageserver.settings import Settings


class SafetyChecker:
    """A loaded checker; may be used from one thread at a time."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    def unsafe(self, pixels: bytes, shape: tuple[int, int, int]) -> tuple[bool, ...]:
        """Return for every image whether it was found unsafe; `pixels` are those of an Outcome.

        `shape` is the height, width and channels of each; transparency is checked on white.
        """
        images = np.frombuffer(pixels, np.uint8).reshape(-1, *shape)
        if shape[2] == 4:
            colours, opacity = images[..., :3].astype(np.uint16), images[..., 3:].astype(np.uint16)
            images = ((colours * opacity + 255 * (255 - opacity)) // 255).astype(np.uint8)
        with torch.inference_mode():
            seen = self._processor(images=list(images), return_tensors="pt")
            # It blackens `images` itself; only its second result is needed.
            _, found = self._model(clip_input=seen.pixel_values, images=torch.zeros(len(images), 1))
        return tuple(bool(one) for one in found)


def open_checker(settings: Settings, report: Report) -> SafetyChecker | None:
    """Return the checker that SAFETY_CHECKER names, None without one; raises ModelUnavailable."""
    if not settings.safety_checker:
        return None
    # Imported here: few want it, and importing it warns of what it would rather have.
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    folder = locate(settings.safety_checker, settings, report, setting="SAFETY_CHECKER")
    try:
        model: Any = StableDiffusionSafetyChecker.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
        return SafetyChecker(model.eval(), _processor(folder))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ModelUnavailable(f"SAFETY_CHECKER={settings.safety_checker} cannot be loaded: {reason}") from error


def blackened(pixels: bytes, unsafe: tuple[bool, ...]) -> bytes:
    """Return the pixels with every unsafe image black; one of four channels is transparent too."""
    size = len(pixels) // len(unsafe)
    return b"".join(
        bytes(size) if is_unsafe else pixels[index * size : (index + 1) * size]
        for index, is_unsafe in enumerate(unsafe)
    )


def sentence(unsafe: tuple[bool, ...]) -> str:
    numbers = ", ".join(str(index + 1) for index, is_unsafe in enumerate(unsafe) if is_unsafe)
    return f"Found unsafe and sent as black (SAFETY_CHECKER): image {numbers}."


def _processor(folder: Path) -> Any:
    from transformers import CLIPImageProcessorPil

    # In a pipeline's folder it is beside the checker's.
    for candidate in (folder, folder.parent / "feature_extractor"):
        if (candidate / "preprocessor_config.json").is_file():
            return CLIPImageProcessorPil.from_pretrained(str(candidate), local_files_only=True)
    return CLIPImageProcessorPil()
