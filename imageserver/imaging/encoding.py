"""Encode pixels as PNG, JPEG or WebP with the metadata inside."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.generation import OutputFormat
from imageserver.imaging.exif import exif_block
from imageserver.imaging.metadata import ImageMetadata
from imageserver.imaging.png import write_png
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.imaging.provenance.xmp import SourceType, packet

DEFAULT_QUALITY = {"jpeg": 95, "webp": 90}
MAX_SIDE = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}


def encode(
    pixels: NDArray[np.uint8],
    *,
    output_format: OutputFormat,
    compression: int | None = None,
    metadata: ImageMetadata | None = None,
    source_type: SourceType = "trainedAlgorithmicMedia",
    sealer: Sealer | None = None,
    manifest_serial: str = "",
) -> bytes:
    """Return the bytes of an image from 8-bit RGB pixels (height, width, 3), or RGBA (height, width, 4).

    JPEG has no transparency: the image is laid on white. `compression` is the quality of JPEG and WebP, 0 to 100
    (OpenAI's `output_compression`); PNG is exact and ignores it. With a `sealer` an XMP packet names the `source_type`
    and, where the file will be signed, the certificate's `manifest_serial`; then the file is sealed. Raises
    InvalidParameter for a size that the format cannot hold and for a compression out of range, ValueError for any other
    array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"Pixels must be uint8 (height, width, 3 or 4), not {pixels.dtype} of {pixels.shape}.")
    if compression is not None and not 0 <= compression <= 100:
        raise InvalidParameter("output_compression must be 0 to 100.", param="output_compression")
    if max(pixels.shape) > MAX_SIDE[output_format]:
        raise InvalidParameter(
            f"A {output_format} image can be at most {MAX_SIDE[output_format]} pixels wide or high; png can hold "
            "larger ones.",
            param="output_format",
        )
    texts = metadata.texts(output_format) if metadata else {}
    xmp = packet(source_type, manifest_serial) if sealer else b""
    if output_format == "png":
        data = write_png(pixels, texts, xmp)
    else:
        data = _encode_lossy(pixels, output_format, compression, exif_block(**texts) if texts else b"", xmp)
    return sealer.sealed(data, texts.get("generation", "")) if sealer else data


def _encode_lossy(
    pixels: NDArray[np.uint8], output_format: Literal["jpeg", "webp"], compression: int | None, exif: bytes, xmp: bytes
) -> bytes:
    quality = DEFAULT_QUALITY[output_format] if compression is None else compression
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    if output_format == "jpeg":
        if image.mode == "RGBA":
            ground = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(ground, image).convert("RGB")
        # Halved colour blurs the edges of shapes and of the overlay, so only a low quality, for small files, uses it.
        subsampling = "4:4:4" if quality >= 90 else "4:2:0"
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling, exif=exif, xmp=xmp)
    else:
        # Method 2 takes 40 ms for 1328 x 1328 where the default takes 102 ms, for 4 % larger files.
        image.save(buffer, "WEBP", quality=quality, method=2, exif=exif, xmp=xmp)
    return buffer.getvalue()
