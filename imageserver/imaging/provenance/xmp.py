"""The XMP packet that says of an image that a model generated it, with room for a seal.

Sources: ISO 16684-1 (XMP), IPTC Photo Metadata Standard 2025.1 (Digital Source Type), the PNG specification, 11.3.2.5,
and the XMP specification, part 3 (where the packet is in PNG, JPEG and WebP files).
"""

import re
import struct
import zlib
from typing import Literal

from imageserver import __version__

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]

PNG_KEYWORD = "XML:com.adobe.xmp"
SEAL_CHARACTERS = 96
NO_SEAL = "0" * SEAL_CHARACTERS
SEAL = re.compile(rb'qis:seal="([0-9a-f]{%d})"' % SEAL_CHARACTERS)
# The serial number of the certificate that signs the manifest, which is added to the sealed file.
MANIFEST = re.compile(rb'qis:manifest="([0-9]{1,64})" \Z')
# Where the packet's chunk is in our own PNG files: behind the signature and IHDR.
PNG_CHUNK = 33
# Its mode is r: an editor that wrote into it would break the seal.
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:qis="urn:qwen-image-server:provenance:1#"'
    ' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}"'
    ' xmp:CreatorTool="qwen-image-server {version}"'
    '{manifest} qis:seal="{seal}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def packet(source_type: SourceType, manifest_serial: str = "") -> bytes:
    """Return the packet without a seal, which `with_seal` puts into the finished file.

    It says that a C2PA manifest follows, where the certificate that signs that has a `manifest_serial`.
    """
    manifest = f' qis:manifest="{manifest_serial}"' if manifest_serial else ""
    return PACKET.format(source_type=source_type, version=__version__, manifest=manifest, seal=NO_SEAL).encode()


def seal_in(data: bytes) -> str | None:
    """Return the first seal in a file, None where there is none."""
    # Ours is the first: a PNG has the packet before its texts, and the quotes in the texts of EXIF are escaped.
    found = SEAL.search(data)
    return found[1].decode() if found else None


def promised_manifest(data: bytes) -> str | None:
    """Return the serial number of the certificate whose manifest the packet of a file promises, None without one."""
    seal = SEAL.search(data)
    # It precedes the seal: a number elsewhere is none of ours.
    promise = MANIFEST.search(data[max(0, seal.start() - 100) : seal.start()]) if seal else None
    return promise[1].decode() if promise else None


def with_seal(data: bytes, seal: str) -> bytes:
    """Return a file that has a seal with another one in its place."""
    found = SEAL.search(data)
    if found is None:
        raise ValueError("The file has no place for a seal.")
    start, end = found.span(1)
    sealed = data[:start] + seal.encode() + data[end:]
    return _with_checksum(sealed, end) if data.startswith(b"\x89PNG") else sealed


def _with_checksum(data: bytes, position: int) -> bytes:
    """Return a PNG with the right checksum of the chunk behind IHDR, if that reaches to `position`."""
    (length,) = struct.unpack_from(">I", data, PNG_CHUNK)
    end = PNG_CHUNK + 8 + length
    if not position <= end <= len(data) - 4:
        return data
    return data[:end] + struct.pack(">I", zlib.crc32(data[PNG_CHUNK + 4 : end])) + data[end + 4 :]
