"""Carry two texts in the EXIF block of JPEG and WebP images, where AUTOMATIC1111 and its gallery tools look for them.

The infotext is the UserComment (Exif 3.0, 4.6.6: eight bytes name the encoding), the JSON is the ImageDescription.
"""

from PIL import ExifTags, Image

UNICODE = b"UNICODE\0"
ASCII = b"ASCII\0\0\0"


def exif_block(*, parameters: str, generation: str) -> bytes:
    """Return an EXIF block with both texts; `generation` must be ASCII."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = generation
    # AUTOMATIC1111 writes and reads big-endian text (through piexif), whatever the byte order of the block.
    comment = UNICODE + parameters.encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


def read_exif(exif: Image.Exif) -> dict[str, str]:
    """Return `parameters` and `generation` if the block has them; any program's user comment counts."""
    found = {}
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, bytes) and comment.startswith(UNICODE):
        found["parameters"] = _decoded(comment.removeprefix(UNICODE))
    elif isinstance(comment, bytes):
        found["parameters"] = comment.removeprefix(ASCII).decode("utf-8", "replace").strip("\0")
    description = exif.get(ExifTags.Base.ImageDescription)
    if isinstance(description, str) and description.startswith("{"):
        found["generation"] = description
    return found


def _decoded(comment: bytes) -> str:
    """Decode UTF-16 of either byte order, which the zeros of Latin letters reveal in the absence of a mark."""
    little = comment[1::2].count(0) > comment[0::2].count(0)
    return comment.decode("utf-16-le" if little else "utf-16-be", "replace").strip("\0")
