"""How a request wants its images encoded; the encoding itself is `imaging.finishing`, on a thread of the pool."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageserver.dispatch.client.ticket import Image
from imageserver.generation import Generation, ModelInfo, OutputFormat
from imageserver.imaging.provenance.manifests.claims import Ingredient
from imageserver.imaging.provenance.sealing import Sealer

if TYPE_CHECKING:
    # They import c2pa, which need not be installed, and numpy.
    from imageserver.imaging.finishing import FinishedImages
    from imageserver.imaging.provenance.manifests.signer import ManifestSigner


@dataclass(frozen=True)
class OutputOptions:
    """How the images of one request are encoded; `aspect_ratio_name` None means no overlay, `sealer` None no mark.

    A `signer` adds a C2PA manifest, which names the `ingredients`.
    """

    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    font_path: Path | None = None
    sealer: Sealer | None = None
    signer: "ManifestSigner | None" = None
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def provenance(self) -> tuple[object, ...]:
        """What the files say of their origin beside the request: files that say it differently are cached apart."""
        # With one that has expired since the request came, they are not signed.
        serial = self.signer.certificate.serial if self.signer and self.signer.certificate.is_valid else ""
        return (self.sealer is not None, serial, *(ingredient.digest for ingredient in self.ingredients))

    @property
    def extension(self) -> str:
        return {"png": "png", "jpeg": "jpg", "webp": "webp"}[self.output_format]

    @property
    def mimetype(self) -> str:
        return f"image/{self.output_format}"


def encode_images(
    image: Image, generation: Generation, info: ModelInfo | None, output_options: OutputOptions
) -> "FinishedImages":
    """Return the encoded files of a generation."""
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
        signer=output_options.signer,
        ingredients=output_options.ingredients,
    )
