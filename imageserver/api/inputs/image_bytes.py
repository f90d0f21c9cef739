"""Where the bytes of a client's image come from: base64, a data URL, an upload, or, where allowed, a web address."""

import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import FileStorage, MultiDict

from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

# What kind of image it is, its own first bytes tell; clients often call it something else.
DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=.-]+)*;base64,", re.IGNORECASE)
WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
URL_SAFE = bytes.maketrans(b"-_", b"+/")
WHITESPACE = b" \t\r\n\f\v"
# 20 MiB in one call would keep every other thread waiting for 0.1 s; a piece takes 5 ms.
CHUNK_BYTES = 2**20


def fetch(service: Services, text: str, *, name: str) -> bytes:
    """Return the bytes that a text stands for: base64, a data URL, or an http address where that is allowed.

    Raises InvalidParameter naming the field and the limit.
    """
    text = text.strip()
    if WEB_ADDRESS.match(text):
        return _fetch_remote(service, text, name)
    return service.thread_pool.run(decode, text, service.settings, name=name)


def fetch_all(service: Services, value: Any, *, name: str, most: int) -> list[bytes]:
    """Return the bytes of one text or of a list of 1 to `most` texts, as `fetch` does; raises InvalidParameter."""
    texts = value if isinstance(value, list) else [value]
    _check_count(len(texts), name, most)
    named = dict(zip(_names(name, len(texts)), texts, strict=True))
    for each, text in named.items():
        if not isinstance(text, str):
            raise InvalidParameter(f"{each} must be text: base64 or a data URL of an image.", param=each)
    return [fetch(service, text, name=each) for each, text in named.items()]


def decode(text: str, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of base64 or a data URL; URL-safe letters, spaces and missing padding are taken as well.

    Raises InvalidParameter naming the field and the limit. Takes 0.1 s for 20 MiB.
    """
    header = DATA_URL.match(text)
    encoded = text[header.end() :] if header else text
    if header and "%" in encoded:
        encoded = unquote(encoded)
    try:
        data = _decoded(encoded, most_bytes(settings))
    # binascii's error and that of encoding to ASCII are both ValueErrors.
    except ValueError:
        raise InvalidParameter(f"{name} is neither base64 nor a data URL of an image.", param=name) from None
    return checked(data, settings, name=name)


def read_upload(file: FileStorage, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of a multipart file; raises InvalidParameter naming the field and the limit."""
    return checked(file.stream.read(most_bytes(settings) + 1), settings, name=name)


def read_uploads(files: MultiDict[str, FileStorage], settings: Settings, *, name: str, most: int) -> list[bytes]:
    """Return the bytes of up to `most` multipart files called `name` or `name[]`, in their order; maybe none.

    Raises InvalidParameter naming the field and the limit.
    """
    found = files.getlist(name) + files.getlist(f"{name}[]")
    if not found:
        return []
    _check_count(len(found), name, most)
    return [read_upload(file, settings, name=each) for each, file in zip(_names(name, len(found)), found, strict=True)]


def checked(data: bytes, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of an image file that arrived as they are; raises InvalidParameter for none and too many."""
    if len(data) > most_bytes(settings):
        raise InvalidParameter(f"{name} is larger than {settings.max_image_mb:g} MiB (MAX_IMAGE_MB).", param=name)
    if not data:
        raise InvalidParameter(f"{name} is empty.", param=name)
    return data


def most_bytes(settings: Settings) -> int:
    """Return the size that an image file may have."""
    return int(settings.max_image_mb * 2**20)


def _fetch_remote(service: Services, url: str, name: str) -> bytes:
    settings = service.settings
    if not settings.allow_remote_images or settings.offline:
        setting = "OFFLINE" if settings.allow_remote_images else "ALLOW_REMOTE_IMAGES"
        raise InvalidParameter(
            f"{name} is a web address, which this server does not open ({setting}); send the image itself.",
            param=name,
        )
    download = service.thread_pool.run(_import_download)
    # Not on a native thread: a slow site would keep it from finishing images.
    return checked(download(url, most_bytes(settings), name=name), settings, name=name)


def _import_download() -> Callable[..., bytes]:
    # Takes 0.1 s, and most servers never need it.
    from imageserver.api.inputs.remote_image import download

    return download


def _decoded(encoded: str, most: int) -> bytes:
    """Return the bytes of base64, or more than `most` of them; raises ValueError for anything else."""
    data, rest = bytearray(), b""
    for start in range(0, len(encoded), CHUNK_BYTES):
        letters = rest + encoded[start : start + CHUNK_BYTES].encode("ascii").translate(URL_SAFE, WHITESPACE)
        whole = len(letters) // 4 * 4
        data += binascii.a2b_base64(letters[:whole], strict_mode=True)
        rest = letters[whole:]
        if len(data) > most:
            return bytes(data)
    rest = rest.rstrip(b"=")
    return bytes(data + binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True))


def _check_count(count: int, name: str, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidParameter(f"{name} holds {count} images; 1 to {most} are read.", param=name)


def _names(name: str, count: int) -> list[str]:
    """Return what errors call each of several images."""
    return [name] if count == 1 else [f"{name}[{index}]" for index in range(count)]
