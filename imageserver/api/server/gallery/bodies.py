"""What clients of the gallery send and receive."""

from typing import Any

from pydantic import BaseModel, Field

from imageserver.api.schemas import ResponseSchema

MAX_NAMES = 1000
MAX_QUERY_CHARACTERS = 200
# A worker does nothing else while it lists them: 500 take 46 ms.
MAX_LIMIT = 100


class ItemQuery(BaseModel, extra="forbid"):
    """The query of the routes of one image."""

    all: bool = Field(False, description="Images of other clients too; needs a key with the role admin.")


class GalleryQuery(ItemQuery):
    """The query of `GET /v1/gallery`."""

    q: str = Field(
        "", max_length=MAX_QUERY_CHARACTERS, description="Only images with all these words in their prompts."
    )
    favourite: bool = Field(False, description="Only favourites.")
    limit: int = Field(60, ge=1, le=MAX_LIMIT, description="Maximum number of images, newest first.")
    cursor: int | None = Field(None, ge=1, le=2**63 - 1, description="Where to go on: `next` of the answer before.")


class ChangeBody(BaseModel, strict=True, extra="forbid"):
    """The body of `PATCH /v1/gallery/{name}`; what is left out stays as it is."""

    favourite: bool | None = Field(None, description="Whether it is a favourite.")
    deleted: bool | None = Field(
        None, description="false undoes a deletion within a minute; true is the same as DELETE."
    )


class ArchiveBody(BaseModel, strict=True, extra="forbid"):
    """The body of `POST /v1/gallery/archive`."""

    names: list[str] | None = Field(
        None, min_length=1, max_length=MAX_NAMES, description="Names of the images; all of them if omitted."
    )


class ItemResponse(ResponseSchema):
    """A saved image of the gallery."""

    name: str = Field(description="The name of its file.")
    url: str = Field(description="Its address; signed where keys are required.")
    thumbnail_url: str = Field(description="The address of a WebP image, no side over 320 pixels; signed like `url`.")
    width: int
    height: int
    prompt: str
    seed: int
    model: str
    created: float = Field(description="When it was saved, in Unix seconds.")
    favourite: bool
    settings: dict[str, Any] = Field(description="Fields of `POST /generate` that generate it again.")
    inputs: list[str] = Field(description="Fields of the images that were sent with the request, which are not kept.")


class KeptResponse(ResponseSchema):
    """Where saved images are kept, and how long."""

    folder: str = Field(description="The folder or store, as its owner named it.")
    max_age: float = Field(description="Seconds that an image is kept.")
    max_mb: float = Field(description="MiB of all images together; the oldest go first.")
    favourites_kept: bool = Field(description="Whether favourites are kept beyond max_age.")
    undo_seconds: float = Field(description="How long a deletion can be undone.")
    shared: bool = Field(description="Whether everybody who reaches this server sees all images: it has no keys.")


class GalleryResponse(ResponseSchema):
    """A page of the gallery."""

    data: list[ItemResponse]
    next: int | None = Field(description="The cursor of the next page; null after the last one.")
    total: int = Field(description="Number of all images that this client may see.")
    kept: KeptResponse
