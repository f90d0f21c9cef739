"""From the engine's pixels to finished files: overlay, metadata and encoding, on the native pool."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import overlay
from imageserver import __version__
from imageserver.dispatch.client import Picture
from imageserver.generation import Generation, ModelFacts
from imageserver.imaging.encoding import encode
from imageserver.imaging.metadata import PictureMetadata

OutputFormat = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True)
class Finish:
    """How the pictures of one request are finished."""

    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    font_path: Path | None = None

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return {"png": "png", "jpeg": "jpg", "webp": "webp"}[self.output_format]

    @property
    def mimetype(self) -> str:
        """The HTTP content type."""
        return f"image/{self.output_format}"


def finish(picture: Picture, generation: Generation, facts: ModelFacts | None, how: Finish) -> list[bytes]:
    """Return the encoded files of a generation, in order; `aspect_ratio_name` None means no overlay."""
    outcome = picture.outcome
    shape = (generation.count, outcome.height, outcome.width, 3)
    pixels = np.frombuffer(picture.pixels, np.uint8).reshape(shape)
    files = []
    for index in range(generation.count):
        image = pixels[index]
        if how.aspect_ratio_name is not None:
            image = _with_overlay(image, picture, facts, how, how.aspect_ratio_name)
        metadata = PictureMetadata(
            prompt=generation.prompt,
            negative_prompt=generation.negative_prompt,
            steps=generation.steps,
            sampler=facts.scheduler if facts else "",
            cfg_scale=generation.true_cfg_scale,
            seed=outcome.seeds[index],
            width=outcome.width,
            height=outcome.height,
            model=facts.name if facts else "",
            version=__version__,
            extra={"batch_size": outcome.batch_size, "inference_time": round(outcome.inference_time, 2)},
        )
        files.append(encode(image, output_format=how.output_format, compression=how.compression, metadata=metadata))
    return files


def _with_overlay(
    pixels: np.ndarray, picture: Picture, facts: ModelFacts | None, how: Finish, aspect_ratio_name: str
) -> np.ndarray:
    lines = overlay.panel_lines(
        model=facts.name if facts else "unknown",
        aspect_ratio=aspect_ratio_name,
        width=picture.outcome.width,
        height=picture.outcome.height,
        inference_time=picture.outcome.inference_time,
        gpu=facts.gpu if facts else "unknown",
        cuda=facts.cuda_version if facts else "unknown",
        when=datetime.now().astimezone(),
    )
    return np.asarray(overlay.draw_overlay(Image.fromarray(pixels), lines, how.font_path))
