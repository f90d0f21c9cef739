"""The pictures in the native body's terms, as a JSON object or a form brings them."""

from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict

from imageserver.api.image_inputs import fetch, fetch_all, read_upload, read_uploads
from imageserver.api.init_images import InitImage
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter

# As OpenAI's own limit.
MOST_IMAGES = 16

NO_FILES: MultiDict[str, FileStorage] = MultiDict()


def read_pictures(service: Services, content: Any, files: MultiDict[str, FileStorage] = NO_FILES) -> InitImage | None:
    """Return what to start from, with its mask; files go before what stands in `content`, a body not yet checked.

    Raises InvalidParameter naming the field and its limit.
    """
    settings = service.settings
    given = content if isinstance(content, dict) else {}
    images = read_uploads(files, settings, name="image", most=MOST_IMAGES)
    if not images and isinstance(given.get("image"), str | list):
        images = fetch_all(service, given["image"], name="image", most=MOST_IMAGES)
    mask = None
    if "mask" in files:
        mask = read_upload(files["mask"], settings, name="mask")
    elif isinstance(given.get("mask"), str):
        mask = fetch(service, given["mask"], name="mask")
    if images:
        return InitImage(image=images[0], further=tuple(images[1:]), mask=mask)
    if mask is not None:
        raise InvalidParameter("mask needs an image to cover.", param="mask")
    return None
