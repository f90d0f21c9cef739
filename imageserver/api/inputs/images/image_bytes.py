"""Read the bytes of a client's image from base64, a data URL, an upload or, if allowed, a web address."""

import binascii
import re
from collections.abc import Callable
from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict

from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

# The media type is not checked: the first bytes of the file decide, and clients often send a wrong type.
DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=.-]+)*;base64,", re.IGNORECASE)
# Matching a header that never ends took 2 s and 1.9 GB.
MAX_DATA_URL_HEADER = 200
# What a browser escapes of base64, 0.9 million in 20 MiB. To unescape all letters of as much took 5 s and 2.4 GB.
MAX_ESCAPES = 1_500_000
ESCAPES = {"%2B": "+", "%2F": "/", "%3D": "=", "%0A": "", "%0D": "", "%20": ""}
WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
URL_SAFE = bytes.maketrans(b"-_", b"+/")
WHITESPACE = b" \t\r\n\f\v"
# Lines that were joined with blanks: at least so long, in whole groups of four letters. Encoders write 64 or 76.
MIN_LINE, MAX_LINES_COMPARED = 48, 100
# 20 MiB in one call would block every other thread for 0.1 s, and an answer waits for several chunks, each of 0.6 ms.
CHUNK_BYTES = 2**17


def fetch(service: Services, text: str, *, name: str) -> bytes:
    """Return the bytes of base64, of a data URL or, if allowed, of what a web address serves.

    Raises InvalidParameter naming the field and the limit.
    """
    text = text.strip()
    if WEB_ADDRESS.match(text):
        return _fetch_remote(service, text, name)
    return service.thread_pool.run(decode, text, service.settings, name=name)


def fetch_all(service: Services, value: Any, *, name: str, max_count: int) -> list[bytes]:
    """Return the bytes of one text or of a list of 1 to `max_count` texts, as `fetch` does; raises InvalidParameter."""
    texts = value if isinstance(value, list) else [value]
    _check_count(len(texts), name, max_count)
    named = dict(zip(_names(name, len(texts)), texts, strict=True))
    for each, text in named.items():
        if not isinstance(text, str):
            raise InvalidParameter(f"{each} must be text: base64 or a data URL of an image.", param=each)
    return [fetch(service, text, name=each) for each, text in named.items()]


def decode(text: str, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of base64 or a data URL, also URL-safe, with lines, without padding, or with blanks for +.

    Raises InvalidParameter naming the field and the limit. Takes 0.1 s for 20 MiB.
    """
    header = DATA_URL.match(text, 0, MAX_DATA_URL_HEADER)
    encoded = (text[header.end() :] if header else text).strip()
    if header and (percent_signs := encoded.count("%")):
        if percent_signs > MAX_ESCAPES:
            raise InvalidParameter(f"{name} has more than {MAX_ESCAPES} percent signs; send base64.", param=name)
        for escape, letter in ESCAPES.items():
            encoded = encoded.replace(escape, letter).replace(escape.lower(), letter)
    if _lost_its_pluses(encoded):
        encoded = encoded.replace(" ", "+")
    try:
        data = _decoded(encoded, max_image_bytes(settings))
    # binascii's error and that of encoding to ASCII are both ValueErrors.
    except ValueError:
        raise InvalidParameter(f"{name} is neither base64 nor a data URL of an image.", param=name) from None
    return checked(data, settings, name=name)


def read_upload(file: FileStorage, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of a multipart file; raises InvalidParameter naming the field and the limit."""
    return checked(file.stream.read(max_image_bytes(settings) + 1), settings, name=name)


def read_uploads(files: MultiDict[str, FileStorage], settings: Settings, *, name: str, max_count: int) -> list[bytes]:
    """Return the bytes of 0 to `max_count` multipart files called `name` or `name[]`, in their order.

    Raises InvalidParameter naming the field and the limit.
    """
    found = files.getlist(name) + files.getlist(f"{name}[]")
    if not found:
        return []
    _check_count(len(found), name, max_count)
    return [read_upload(file, settings, name=each) for each, file in zip(_names(name, len(found)), found, strict=True)]


def checked(data: bytes, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of an image file; raises InvalidParameter if it is empty or too large."""
    if len(data) > max_image_bytes(settings):
        raise InvalidParameter(f"{name} is larger than {settings.max_image_mb:g} MiB (MAX_IMAGE_MB).", param=name)
    if not data:
        raise InvalidParameter(f"{name} is empty.", param=name)
    return data


def max_image_bytes(settings: Settings) -> int:
    return int(settings.max_image_mb * 2**20)


def _fetch_remote(service: Services, url: str, name: str) -> bytes:
    settings = service.settings
    if not settings.allow_remote_images or settings.offline:
        setting = "OFFLINE" if settings.allow_remote_images else "ALLOW_REMOTE_IMAGES"
        raise InvalidParameter(
            f"{name} is a web address, and this server opens none ({setting}); send the image itself.", param=name
        )
    download = service.thread_pool.run(_import_download)
    # On this greenlet: a slow site would block a native thread that encodes images.
    return checked(download(url, max_image_bytes(settings), name=name), settings, name=name)


def _import_download() -> Callable[..., bytes]:
    # Takes 0.1 s, and most servers never need it.
    from imageserver.api.inputs.images.remote_image import download

    return download


def _lost_its_pluses(encoded: str) -> bool:
    """Return whether blanks stand for pluses, as in a form that was not escaped, and not between joined lines."""
    if " " not in encoded or "+" in encoded or "\n" in encoded:
        return False
    first, *others, last = encoded.split(" ", MAX_LINES_COMPARED)
    are_lines = len(first) >= MIN_LINE and len(first) % 4 == 0 and all(len(each) == len(first) for each in others)
    return not (are_lines and (len(last) <= len(first) or len(others) == MAX_LINES_COMPARED - 1))


def _decoded(encoded: str, max_bytes: int) -> bytes:
    """Return the bytes of base64, or more than `max_bytes` of them; raises ValueError for anything else."""
    data, rest = bytearray(), b""
    for start in range(0, len(encoded), CHUNK_BYTES):
        letters = rest + encoded[start : start + CHUNK_BYTES].encode("ascii").translate(URL_SAFE, WHITESPACE)
        whole = len(letters) // 4 * 4
        data += binascii.a2b_base64(letters[:whole], strict_mode=True)
        rest = letters[whole:]
        if len(data) > max_bytes:
            return bytes(data)
    rest = rest.rstrip(b"=")
    return bytes(data + binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True))


def _check_count(count: int, name: str, max_count: int) -> None:
    if not 1 <= count <= max_count:
        raise InvalidParameter(f"{name} contains {count or 'no'} images; 1 to {max_count} are allowed.", param=name)


def _names(name: str, count: int) -> list[str]:
    """Return the names of the images in error messages."""
    return [name] if count == 1 else [f"{name}[{index}]" for index in range(count)]
