"""How a request wants its images encoded; the encoding itself is `imaging.finishing`, on a thread of the pool."""

from dataclasses import dataclass
from pathlib import Path

from imageserver.dispatch.client.ticket import Image
from imageserver.generation import Generation, ModelInfo, OutputFormat
from imageserver.imaging.provenance.sealing import Sealer


@dataclass(frozen=True)
class OutputOptions:
    """How the images of one request are encoded; `aspect_ratio_name` None means no overlay, `sealer` None no mark."""

    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    font_path: Path | None = None
    sealer: Sealer | None = None

    @property
    def extension(self) -> str:
        return {"png": "png", "jpeg": "jpg", "webp": "webp"}[self.output_format]

    @property
    def mimetype(self) -> str:
        return f"image/{self.output_format}"


def encode_images(
    image: Image, generation: Generation, info: ModelInfo | None, output_options: OutputOptions
) -> list[bytes]:
    """Return the encoded files of a generation, in order."""
    # numpy and Pillow take 0.2 s to import: the port answers before that.
    from imageserver.imaging import finishing

    return finishing.finish(
        image.pixels,
        image.outcome,
        generation,
        info,
        output_format=output_options.output_format,
        compression=output_options.compression,
        aspect_ratio_name=output_options.aspect_ratio_name,
        font_path=output_options.font_path,
        sealer=output_options.sealer,
    )
