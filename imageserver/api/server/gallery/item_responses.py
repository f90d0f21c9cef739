"""Saved images of the gallery as JSON, with their addresses."""

from collections.abc import Sequence
from typing import Any

from flask import request, url_for

from imageserver.api.generation.save import urls_of
from imageserver.api.request_context import services
from imageserver.api.server.gallery.bodies import ItemResponse
from imageserver.outputs.gallery.item import GalleryItem


def items_as_json(items: Sequence[GalleryItem]) -> list[dict[str, Any]]:
    """Return the fields of ItemResponse of every item."""
    urls = urls_of([item.name for item in items])
    return [_as_json(item, url) for item, url in zip(items, urls, strict=True)]


def _as_json(item: GalleryItem, url: str) -> dict[str, Any]:
    response = ItemResponse(
        name=item.name,
        url=url,
        thumbnail_url=_thumbnail_url(item.name),
        width=item.width,
        height=item.height,
        prompt=str(item.settings.get("prompt", "")),
        seed=int(item.settings.get("seed", 0)),
        model=item.model,
        created=item.created_at,
        favourite=item.favourite,
        settings=dict(item.settings),
        inputs=list(item.inputs),
    )
    return response.model_dump()


def _thumbnail_url(name: str) -> str:
    """Return the address of a thumbnail; the signature of its image opens it too."""
    signer, root = services().url_signer, services().links.root()
    query: dict[str, Any] = dict(signer.sign(name)) if signer else {}
    return root + url_for("gallery.thumbnail", name=name, **query).removeprefix(request.script_root)
