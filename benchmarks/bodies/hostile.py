"""Bodies of up to 32 MiB that are cheap to send and were expensive to read, each for the route that reads it."""

import io
import json
import zlib
from struct import pack

from benchmarks.bodies.sent_body import MIB, URLENCODED, SentBody

SIZE = 31 * MIB
BOUNDARY = "hostile"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
PROMPT = b'{"prompt": "a cat", '
MCP_CALL = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "generate_image", '
    b'"arguments": {"prompt": "'
)
# It makes four bytes of each letter of its text.
EMOJI = "\U0001f408".encode()
ESCAPED_EMOJI = b"\\ud83d\\udc08"


def _repeated(unit: bytes, size: int, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def _keys(size: int) -> bytes:
    return b"{" + b",".join(b'"%07d":1' % number for number in range(size // 12)) + b"}"


def _pairs(size: int) -> bytes:
    return b"&".join(b"k%07d=1" % number for number in range(size // 11))


def _part(name: bytes, content: bytes) -> bytes:
    return b'--hostile\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + content + b"\r\n"


def _form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--hostile--\r\n"


def _parts(size: int) -> bytes:
    part = _part(b"a", b"")
    return _form(part * (size // len(part)))


def _part_headers(size: int) -> bytes:
    part = b"--hostile\r\n" + _repeated(b"a: b\r\n", size) + b"\r\n\r\n"
    return _form(part)


def png_of_texts(size: int) -> bytes:
    """Return a PNG of one pixel with empty text chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    file.write(chunk(b"IHDR", pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)))
    text = chunk(b"tEXt", b"a\0")
    file.write(text * ((size - 100) // len(text)))
    file.write(chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b""))
    return file.getvalue()


def _png_info(size: int) -> bytes:
    from base64 import b64encode

    return json.dumps({"image": b64encode(png_of_texts(min(size * 3 // 4, 19 * MIB))).decode()}).encode()


HOSTILE_BODIES = (
    SentBody("nested lists", lambda size: _repeated(b"[", size // 2) + _repeated(b"]", size // 2)),
    SentBody("many lists", lambda size: _repeated(b"[],", size, PROMPT + b'"image": [', b"[]]}")),
    SentBody("many keys", _keys),
    SentBody("many numbers", lambda size: _repeated(b"1,", size, b"[", b"1]")),
    SentBody("long numbers", lambda size: _repeated(b"1" * 4300 + b",", size, b"[", b"1]")),
    SentBody("one long number", lambda size: _repeated(b"1", size, PROMPT + b'"seed": ', b"}")),
    SentBody("one long fraction", lambda size: _repeated(b"1", size, PROMPT + b'"timeout": 0.', b"}")),
    SentBody("escapes", lambda size: _repeated(b"\\u0041", size, b'{"prompt": "', b'"}')),
    SentBody("escaped quotes", lambda size: _repeated(b'\\",', size, b'{"prompt": "', b'"}')),
    SentBody("quotes", lambda size: _repeated(b'"', size)),
    SentBody("one long key", lambda size: _repeated(b"a", size, PROMPT + b'"', b'": 1}')),
    SentBody("a long value of a wrong type", lambda size: _repeated(b"a", size, PROMPT + b'"n": "', b'"}')),
    SentBody("a long prompt", lambda size: _repeated(b"a", size, b'{"prompt": "', b'"}')),
    SentBody("percent signs in a data URL", lambda size: _repeated(
        b"%41", size, PROMPT + b'"image": "data:image/png;base64,', b'"}'
    )),
    SentBody("parameters in a data URL", lambda size: _repeated(b";a", size, PROMPT + b'"image": "data:', b'"}')),
    SentBody("an image that is none", lambda size: _repeated(b"A", size * 2 // 3, PROMPT + b'"image": "', b'"}')),
    SentBody("alwayson_scripts", lambda size: _repeated(
        b"a", size, PROMPT + b'"alwayson_scripts": {"x": {"args": ["', b'"]}}}'
    ), "/sdapi/v1/txt2img"),
    SentBody("a PNG of empty texts", _png_info, "/sdapi/v1/png-info"),
    SentBody("empty pairs", lambda size: _repeated(b"a&", size), content_type=URLENCODED),
    SentBody("many pairs", _pairs, content_type=URLENCODED),
    SentBody("percent signs in a pair", lambda size: _repeated(b"%41", size, b"prompt="), content_type=URLENCODED),
    SentBody("many parts", _parts, content_type=MULTIPART),
    SentBody("headers of a part", _part_headers, content_type=MULTIPART),
    SentBody("one long field name", lambda size: _form(_part(b"a" * size, b"")), content_type=MULTIPART),
    SentBody("JSON in a field", lambda size: _form(
        _part(b"prompt", b"a cat"), _part(b"loras", _repeated(b"[],", size, b"[", b"[]]"))
    ), content_type=MULTIPART),
    SentBody("line ends in a field", lambda size: _form(
        _part(b"prompt", _repeated(b"\r\n", size))
    ), content_type=MULTIPART),
    SentBody("near boundaries", lambda size: _form(
        _part(b"prompt", _repeated(b"\r\n--hostil", size))
    ), content_type=MULTIPART),
    SentBody("a preamble", lambda size: _repeated(b"\r\n", size) + _form(), content_type=MULTIPART),
    SentBody("an epilogue", lambda size: _form(
        _part(b"prompt", b"")
    ) + _repeated(b"\r\n", size), content_type=MULTIPART),
    SentBody("no boundary", lambda size: _repeated(b"-", size), content_type=MULTIPART),
    SentBody("a shared text of quotes", lambda size: _form(
        _part(b"text", _repeated(b'"', min(size, 19 * MIB), after=EMOJI))
    ), "/share", content_type=MULTIPART),
    SentBody("an emoji in a long prompt", lambda size: _repeated(b"a", size, b'{"prompt": "', EMOJI + b'"}')),
    SentBody("an escaped emoji in a long prompt", lambda size: _repeated(
        b"a", size, b'{"prompt": "', ESCAPED_EMOJI + b'"}'
    )),
    SentBody("an emoji in long inputs", lambda size: _repeated(
        b"a", size, b'{"inputs": "', EMOJI + b'"}'
    ), "/models/demo"),
    SentBody("an emoji in a tool's argument", lambda size: _repeated(
        b"a", size, MCP_CALL, EMOJI + b'"}}}'
    ), "/mcp"),
    SentBody("an emoji in a field", lambda size: _form(
        _part(b"prompt", _repeated(b"a", size, after=EMOJI))
    ), content_type=MULTIPART),
    SentBody("an emoji in a pair", lambda size: _repeated(
        b"a", size, b"prompt=", b"%F0%9F%90%88"
    ), content_type=URLENCODED),
    SentBody("nothing but emojis", lambda size: _repeated(EMOJI, size, b'{"prompt": "', b'"}')),
    SentBody("chunks of one byte", lambda size: _repeated(b" ", size // 6), transfer="chunked"),
    SentBody("many lists in a frame", lambda size: _repeated(
        b"[],", size, PROMPT + b'"image": [', b"[]]}"
    ), "/ws/generate", transfer="frame"),
    SentBody("many keys in a frame", _keys, "/ws/generate", transfer="frame"),
    SentBody("an emoji in a frame", lambda size: _repeated(
        b"a", size, b'{"prompt": "', EMOJI + b'"}'
    ), "/ws/generate", transfer="frame"),
    SentBody("a long prompt in a frame", lambda size: _repeated(
        b"a", size, b'{"prompt": "', b'"}'
    ), "/ws/generate", transfer="frame"),
)  # fmt: skip
