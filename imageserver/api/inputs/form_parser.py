"""Parse forms within bounds that are checked before anything is built from them.

werkzeug's parser took 26 s for 31 MiB of `a&a&a…`, and 16 s for one long field name: it looks at every byte of a body
again and again, on the greenlet. This one goes over it once, and lets other clients in between.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from imageserver.api.inputs.whole_body import read_whole
from imageserver.api.inputs.wide_text.fields import FieldDecoder
from imageserver.api.wsgi.yielding import count_with_pauses, serve_others, yield_to_others
from imageserver.errors import BadRequest

MAX_FIELDS = 1000
MAX_NAME_CHARACTERS = 200
# Of one part: name, file name and content type have a few hundred.
MAX_HEADER_BYTES = 4096
# RFC 2046, 5.1.1.
MAX_BOUNDARY_CHARACTERS = 70
# 20 MiB of base64 have 0.9 million, and each but the common ones takes 0.7 µs.
MAX_ESCAPES = 1_500_000
# What base64 has of them; none of these letters can be part of another escape.
COMMON_ESCAPES = {b"%2B": b"+", b"%2b": b"+", b"%2F": b"/", b"%2f": b"/", b"%3D": b"=", b"%3d": b"="}
# A slice of nothing but escapes takes 4 ms.
SLICE_BYTES = 2**14
END_OF_HEADERS = b"\r\n\r\n"

Fields = MultiDict[str, Any]


class FormParser(FormDataParser):
    """Parses both kinds of forms; raises BadRequest naming the limit, or werkzeug's 413 for a body over the limit."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], Fields, Fields]:
        form, files = Fields(), Fields()
        if mimetype == "multipart/form-data":
            _read_multipart(read_whole(stream), (options or {}).get("boundary", ""), form, files)
        elif mimetype == "application/x-www-form-urlencoded":
            _read_pairs(read_whole(stream), form)
        return stream, form, files


class FormRequest(Request):
    """A request whose forms are parsed within bounds."""

    form_data_parser_class = FormParser

    def _load_form_data(self) -> None:
        """Parse the form and forget its text, which would take as much memory again while the request waits."""
        super()._load_form_data()
        self.__dict__.pop("_cached_data", None)


def is_json(body: bytes) -> bool:
    """Return whether a body that calls itself a form is JSON: `curl -d` says so of whatever it sends."""
    return body[:64].lstrip().startswith(b"{")


def _read_pairs(body: bytes, form: Fields) -> None:
    if is_json(body):
        return
    _refuse_if_many(count_with_pauses(body, b"&") + 1)
    if count_with_pauses(body, b"%") > MAX_ESCAPES:
        raise BadRequest(f"The form has more than {MAX_ESCAPES} percent signs; send a file, or JSON.")
    decoder = FieldDecoder()
    for pair in filter(None, body.split(b"&")):
        name, _, value = pair.partition(b"=")
        _refuse_if_long(name)
        form.add(decoder.decode(_unescaped(name)), decoder.decode(_unescaped(value)))


def _unescaped(text: bytes) -> bytearray:
    data, start = bytearray(), 0
    while start < len(text):
        _pause(text)
        end = start + SLICE_BYTES
        # No slice ends in an escape.
        cut = text.find(b"%", end - 2, end)
        end = end if cut < 0 else cut
        data += unquote_to_bytes(_without_common_escapes(text[start:end].replace(b"+", b" ")))
        start = end
    return data


def _without_common_escapes(text: bytes) -> bytes:
    for escape, letter in COMMON_ESCAPES.items():
        text = text.replace(escape, letter)
    return text


def _read_multipart(body: bytes, boundary: str, form: Fields, files: Fields) -> None:
    decoder = FieldDecoder()
    for headers, content in _parts(body, boundary):
        _pause(content)
        _, options = parse_options_header(headers.get("Content-Disposition"))
        name = options.get("name", "")
        _refuse_if_long(name)
        if "filename" in options:
            files.add(name, FileStorage(BytesIO(content), options["filename"], name, headers=headers))
        else:
            form.add(name, decoder.decode(content))


def _parts(body: bytes, boundary: str) -> Iterator[tuple[Headers, bytes]]:
    """Yield the headers and the content of every part."""
    if not 0 < len(boundary) <= MAX_BOUNDARY_CHARACTERS or not boundary.isascii():
        raise BadRequest("The form has no valid boundary in its Content-Type.")
    delimiter = b"\r\n--" + boundary.encode()
    # What precedes the first one is ignored.
    found = -2 if body.startswith(delimiter[2:]) else body.find(delimiter)
    for number in range(MAX_FIELDS + 2):
        yield_to_others()
        start = found + len(delimiter)
        if found != -1 and body.startswith(b"--", start):
            return
        found = body.find(delimiter, start) if found != -1 else -1
        yield_to_others()
        if found == -1:
            raise BadRequest("The form breaks off before its last boundary.")
        _refuse_if_many(number + 1)
        # Two bytes of the delimiter may end the headers of a part without content.
        end = body.find(END_OF_HEADERS, start, min(found + 2, start + MAX_HEADER_BYTES))
        if end < 0:
            raise BadRequest(f"Part {number + 1} of the form has no headers, or more than {MAX_HEADER_BYTES} bytes.")
        yield _headers(body[start:end]), body[end + len(END_OF_HEADERS) : found]


def _headers(lines: bytes) -> Headers:
    pairs = (line.partition(":") for line in lines.decode(errors="replace").split("\r\n"))
    try:
        return Headers([(name.strip(), value.strip()) for name, separator, value in pairs if separator])
    except ValueError:
        raise BadRequest("A part of the form has a line break within one of its headers.") from None


def _refuse_if_many(fields: int) -> None:
    if fields > MAX_FIELDS:
        raise BadRequest(f"The form has more than {MAX_FIELDS} fields.")


def _refuse_if_long(name: str | bytes) -> None:
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadRequest(f"A field of the form has a name of more than {MAX_NAME_CHARACTERS} characters.")


def _pause(text: bytes) -> None:
    if len(text) > SLICE_BYTES:
        serve_others()
