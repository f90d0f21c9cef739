"""What a phone's app shares to the web page: it comes back inside the page, and the server keeps nothing.

A service worker would do that within the browser, but a page without Trusted Types policies may not register one.
"""

import base64
import math
from collections.abc import Iterator
from html import escape

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from imageserver.api import errors
from imageserver.api.inputs.form_body import read_form
from imageserver.api.inputs.wide_text.fields import TooWide
from imageserver.api.operations import documented
from imageserver.api.page import views as page
from imageserver.api.request_context import services
from imageserver.api.wsgi.bodies.arriving import BODY_KEY
from imageserver.api.wsgi.yielding import yield_to_others

blueprint = Blueprint("page_share", __name__)
errors.register(blueprint)

# Beside the image: its texts, and the form around all of them.
FORM_BYTES = 2**16
# Of all texts together. In an attribute a quote has six letters: 20 MiB of quotes and an emoji took 1 GiB of memory.
MAX_TEXT_CHARACTERS = FORM_BYTES
# What is encoded at a time. Base64 needs multiples of three, or it pads in the middle.
PIECE_BYTES = 3 * 2**16


class ShareBody(BaseModel):
    """The texts that an app shares."""

    title: str = Field("", description="Title of what is shared.")
    text: str = Field("", description="Text of what is shared.")
    url: str = Field("", description="Web address of what is shared.")


@blueprint.post("/share")
@documented(
    body=ShareBody, form=True, files={"image": "Image to start from."}, media=("text/html",), errors=(400, 408, 503)
)
def share() -> Response:
    """Return the web page, with what an app has shared to it in its form."""
    service = services()
    # A browser sends no key along, and without one nothing is read.
    if service.keyring.locked:
        return _page("locked")
    settings = service.settings
    limit = min(settings.max_body_mb * 2**20, settings.max_image_mb * 2**20 + FORM_BYTES)
    request.max_content_length = int(limit)
    try:
        body, image = ShareBody(**read_form(ShareBody)), request.files.get("image")
    except (RequestEntityTooLarge, TooWide):
        return _page("large")
    if sum(map(len, (body.title, body.text, body.url))) > MAX_TEXT_CHARACTERS:
        return _page("large")
    return _page_with(body, image)


def _page_with(body: ShareBody, image: FileStorage | None) -> Response:
    text = "\n".join(filter(None, (body.text, body.url))) or body.title
    request.environ[BODY_KEY].lasts_until_sent = True
    return _page("", text=text, kind=image.mimetype if image else "", content=image.read() if image else b"")


def _page(problem: str, *, text: str = "", kind: str = "", content: bytes = b"") -> Response:
    """Return the page with the element that `inputs/shared.js` reads; its base64 is never in memory as a whole."""
    before, after = page.around_element()
    attributes = f'data-problem="{problem}" data-prompt="{escape(text)}" data-kind="{escape(kind)}"'
    head = before + f'<template id="shared" {attributes}>'.encode()
    tail = b"</template>\n" + after
    size = len(head) + 4 * math.ceil(len(content) / 3) + len(tail)
    return page.response_for_one(_pieces(head, content, tail), size)


def _pieces(head: bytes, content: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    for start in range(0, len(content), PIECE_BYTES):
        yield_to_others()
        yield base64.b64encode(content[start : start + PIECE_BYTES])
    yield tail
