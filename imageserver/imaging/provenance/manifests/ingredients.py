"""The images of a request as ingredients, with the manifests that they bring."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace

import c2pa

from imageserver.imaging.provenance.manifests.claims import Ingredient, Relationship
from imageserver.imaging.provenance.manifests.context import new_context
from imageserver.imaging.provenance.manifests.embedding import media_type_of
from imageserver.imaging.provenance.manifests.store import MAX_STORE_BYTES, StoreRefused, manifest_store

# Of all images of a request, whose manifests may have thumbnails and those of earlier images: they are kept until it
# ends, and with them the answer's own must be small enough to be read again.
MAX_ARCHIVE_BYTES = MAX_STORE_BYTES - 2**16


def read_ingredients(images: Sequence[bytes], inputs: Sequence[bytes]) -> tuple[Ingredient, ...]:
    """Return the first of the `images` as the one that is changed, the others and the `inputs` as read beside it."""
    parents, beside = images[:1], [*images[1:], *inputs]
    wanted: list[tuple[bytes, str, Relationship]] = [
        *((data, "image", "parentOf") for data in parents),
        *((data, f"input{number}", "inputTo") for number, data in enumerate(beside)),
    ]
    room, ingredients = MAX_ARCHIVE_BYTES, list[Ingredient]()
    for data, label, relationship in wanted:
        ingredient = _read(data, Ingredient(label=label, relationship=relationship), room)
        room -= len(ingredient.archive)
        ingredients.append(ingredient)
    return tuple(ingredients)


def _read(data: bytes, plain: Ingredient, room: int) -> Ingredient:
    """Return an ingredient with the manifest of its file, without it where it takes more than `room` bytes."""
    try:
        store = manifest_store(data)
    except StoreRefused:
        # A compressed one would also cost whoever reads the answer's.
        return plain
    if store is None or len(store) > room:
        return plain
    archive, builder = io.BytesIO(), c2pa.Builder({}, context=new_context())
    try:
        builder.add_ingredient(plain.description, media_type_of(data), io.BytesIO(data))
        builder.write_ingredient_archive(plain.label, archive)
    except c2pa.C2paError:
        # Whatever is wrong with it: the image is an ingredient nevertheless.
        return plain
    if archive.tell() > room:
        return plain
    return replace(plain, archive=archive.getvalue(), digest=hashlib.sha256(data).hexdigest())
