"""How a request wants its images finished; the finishing itself is `imaging.finishing`, on the native pool."""

from dataclasses import dataclass
from pathlib import Path

from imageserver.dispatch.client.ticket import Image
from imageserver.generation import Generation, ModelInfo, OutputFormat


@dataclass(frozen=True)
class OutputOptions:
    """How the images of one request are finished."""

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


def finish(image: Image, generation: Generation, facts: ModelInfo | None, how: OutputOptions) -> list[bytes]:
    """Return the encoded files of a generation, in order; `aspect_ratio_name` None means no overlay."""
    # numpy and Pillow take 0.2 s to import: the port answers before that.
    from imageserver.imaging import finishing

    return finishing.finish(
        image.pixels,
        image.outcome,
        generation,
        facts,
        output_format=how.output_format,
        compression=how.compression,
        aspect_ratio_name=how.aspect_ratio_name,
        font_path=how.font_path,
    )
