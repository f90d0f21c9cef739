"""Serve the web page: its files, their content policy, and the choice between page and JSON at `/`."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.datastructures import MIMEAccept

from imageserver.api.operations import documented
from imageserver.api.page.files import INDEX, MEDIA, PageFiles
from imageserver.errors import NotFound

blueprint = Blueprint("page", __name__)

FOLDER = Path(__file__).resolve().parent / "files"
YEAR_SECONDS = 365 * 24 * 3600

# Nothing from other hosts, no inline scripts, no markup from strings; images come from memory.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}


@blueprint.get("/client.html")
@documented(media=("text/html",))
def client() -> Response:
    """Return the web page, at the path where users of CogView4-FastAPI expect it."""
    return page_response()


@blueprint.get("/page/<path:name>", merge_slashes=False)
@documented(media=tuple(MEDIA.values()), errors=(404,))
def file(name: str) -> Response:
    """Return a file of the web page."""
    return page_response(name)


def is_wanted(accepted: MIMEAccept) -> bool:
    """Return whether a client prefers HTML to JSON; a client that accepts anything gets JSON."""
    return accepted["text/html"] > accepted["application/json"]


def page_response(name: str = INDEX) -> Response:
    """Return a file of the page, or 304 if the browser has it; raises NotFound."""
    files = _files()
    found = files.find(name)
    if found is None:
        raise NotFound("The web page has no such file; GET / lists the API.")
    response = text_response(found.content, found.compressed, found.media, found.tag)
    response.headers.update(HEADERS)
    if files.is_versioned(name):
        response.cache_control.max_age = YEAR_SECONDS
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    return response


def around_element() -> tuple[bytes, bytes]:
    """Return what of the page goes before and after one more element."""
    found = _files().find(INDEX)
    assert found is not None
    before, end, after = found.content.rpartition(b"</body>")
    return before, end + after


def response_for_one(pieces: Iterable[bytes], size: int) -> Response:
    """Return a page of so many bytes with an element of its own, for one browser."""
    response = Response(pieces, content_type=f"{MEDIA['.html']}; charset=utf-8")
    response.content_length = size
    response.headers.update(HEADERS)
    response.cache_control.no_store = True
    return response


def text_response(content: bytes, compressed: bytes, media: str, tag: str) -> Response:
    """Return a text, compressed where the client accepts that, or 304 if it has it."""
    is_gzip = request.accept_encodings["gzip"] > 0
    response = Response(compressed if is_gzip else content, content_type=f"{media}; charset=utf-8")
    response.vary.add("Accept-Encoding")
    if is_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(f"{tag}-gzip" if is_gzip else tag)
    response.make_conditional(request)
    return response


@cache
def _files() -> PageFiles:
    return PageFiles(FOLDER)
