"""Serve the web page: its files, their content policy, and the choice between page and JSON at `/`."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.datastructures import MIMEAccept

from imageserver.api.operations import documented
from imageserver.errors import NotFound

blueprint = Blueprint("page", __name__)

FOLDER = Path(__file__).resolve().parent / "files"
INDEX = "index.html"
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# Nothing from other hosts, no inline scripts, no markup from strings; images come from memory.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class PageFile:
    """A file with its media type and the ETag of its content."""

    content: bytes
    media: str
    tag: str


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
    found = _files().get(name)
    if found is None:
        raise NotFound("The web page has no such file; GET / lists the API.")
    response = Response(found.content, content_type=f"{found.media}; charset=utf-8")
    response.headers.update(HEADERS)
    response.cache_control.no_cache = True
    response.set_etag(found.tag)
    response.make_conditional(request)
    return response


@cache
def _files() -> dict[str, PageFile]:
    """Return the files by their names below the folder; no other file can be requested."""
    found = (path for path in FOLDER.rglob("*") if path.suffix in MEDIA)
    contents = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in found}
    return {
        name: PageFile(content, MEDIA[Path(name).suffix], hashlib.sha256(content).hexdigest()[:32])
        for name, content in contents.items()
    }
