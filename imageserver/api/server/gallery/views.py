"""List saved images, newest first; mark, delete and undo; their thumbnails, and a ZIP file of them."""

from flask import Blueprint, Response, jsonify

from imageserver.api.authorization import require_admin
from imageserver.api.generation.save import shown_paths
from imageserver.api.inputs.json_body import read_model
from imageserver.api.inputs.validation import read_query
from imageserver.api.operations import documented
from imageserver.api.request_context import credential, services
from imageserver.api.server.gallery.archive import archive_of
from imageserver.api.server.gallery.bodies import (
    ArchiveBody,
    ChangeBody,
    GalleryQuery,
    GalleryResponse,
    ItemQuery,
    ItemResponse,
    KeptResponse,
)
from imageserver.api.server.gallery.item_responses import items_as_json
from imageserver.api.server.gallery.thumbnails import thumbnail_response
from imageserver.api.services import Services
from imageserver.errors import NotFound
from imageserver.outputs.gallery.gallery import UNDO_SECONDS, Gallery
from imageserver.outputs.gallery.item import GalleryItem, Selection

blueprint = Blueprint("gallery", __name__, url_prefix="/v1/gallery")


@blueprint.get("")
@documented(query=GalleryQuery, response=GalleryResponse, errors=(404, 422, 507))
def list_images() -> Response:
    """List saved images with their settings, newest first."""
    query, gallery = read_query(GalleryQuery), _gallery()
    whose = _whose(query)
    selection = Selection(credential=whose, query=query.q, favourites_only=query.favourite)
    page = gallery.page(selection, before=query.cursor, limit=query.limit)
    data, kept = items_as_json(page.items), _kept(services()).model_dump()
    return jsonify(data=data, next=page.before, total=gallery.count(whose), kept=kept)


@blueprint.get("/<name>")
@documented(query=ItemQuery, response=ItemResponse, errors=(404, 422, 507))
def show(name: str) -> Response:
    """Return a saved image's settings."""
    whose = _whose(read_query(ItemQuery))
    return _described(_gallery().find(name, whose))


@blueprint.patch("/<name>")
@documented(query=ItemQuery, body=ChangeBody, response=ItemResponse, errors=(400, 404, 408, 413, 422, 507))
def change(name: str) -> Response:
    """Mark a saved image as a favourite, or undo its deletion."""
    whose, body = _whose(read_query(ItemQuery)), read_model(ChangeBody)
    return _described(_gallery().change(name, whose, favourite=body.favourite, deleted=body.deleted))


@blueprint.delete("/<name>")
@documented(query=ItemQuery, response=ItemResponse, errors=(404, 422, 507))
def delete(name: str) -> Response:
    """Delete a saved image; for a minute, PATCH with `deleted` false undoes it."""
    return _described(_gallery().change(name, _whose(read_query(ItemQuery)), deleted=True))


@blueprint.get("/<name>/thumbnail")
@documented(media=("image/webp",), errors=(404, 503, 507))
def thumbnail(name: str) -> Response:
    """Return a small version of a saved image."""
    return thumbnail_response(services(), _found(_gallery().find(name)))


@blueprint.post("/archive")
@documented(query=ItemQuery, body=ArchiveBody, media=("application/zip",), errors=(400, 404, 408, 413, 422, 503, 507))
def archive() -> Response:
    """Return saved images as a ZIP file, which is sent while it is made."""
    whose, body = _whose(read_query(ItemQuery)), read_model(ArchiveBody)
    return archive_of(services(), _gallery(), whose, body.names)


def _gallery() -> Gallery:
    gallery = services().gallery
    if gallery is None:
        raise NotFound("This server keeps no gallery of saved images (GALLERY=0).")
    return gallery


def _whose(query: ItemQuery) -> str:
    """Return the credential whose images are meant, empty for everybody's; raises AdminRequired."""
    if not query.all:
        return credential()
    require_admin("Images of other clients are private")
    return ""


def _found(item: GalleryItem | None) -> GalleryItem:
    if item is None:
        raise NotFound("The gallery has no image of that name.", param="name")
    return item


def _described(item: GalleryItem | None) -> Response:
    return jsonify(items_as_json([_found(item)])[0])


def _kept(service: Services) -> KeptResponse:
    settings = service.settings
    return KeptResponse(
        folder=shown_paths(service, [""])[0].rstrip("/"),
        max_age=settings.tmp_max_age,
        max_mb=settings.tmp_max_mb,
        favourites_kept=service.outputs.keeps_favourites,
        undo_seconds=UNDO_SECONDS,
        shared=not service.keyring.locked,
    )
