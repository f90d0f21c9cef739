"""Which gallery the settings mean."""

from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.gallery.thumbnails import Thumbnails
from imageserver.outputs.retention import MEBIBYTE
from imageserver.settings import Settings

# Of STATE_MAX_MB: the rest stays for tasks, whose oldest go when the whole is full.
SHARE_OF_STATE = 0.5
# Of TMP_MAX_MB: a thumbnail has 5 to 20 kB, an image of 1328 x 1328 about 2 MB.
SHARE_OF_OUTPUTS = 1 / 16


def open_gallery(settings: Settings) -> Gallery | None:
    """Return the gallery, None where GALLERY is off."""
    return _gallery(settings) if settings.gallery else None


def open_abandoned_gallery(settings: Settings) -> Gallery | None:
    """Return what is left of the gallery of an earlier start where GALLERY is off now, else None."""
    return None if settings.gallery else _gallery(settings)


def open_thumbnails(settings: Settings) -> Thumbnails:
    """Return the thumbnails of saved images, which are on this machine wherever the images are."""
    folder = settings.resolve(settings.state_dir) / "thumbnails"
    return Thumbnails(folder, max_mb=SHARE_OF_OUTPUTS * settings.tmp_max_mb)


def _gallery(settings: Settings) -> Gallery:
    max_bytes = SHARE_OF_STATE * settings.state_max_mb * MEBIBYTE
    folder = settings.resolve(settings.state_dir)
    return Gallery(folder, max_items=settings.gallery_max_images, max_bytes=max_bytes)
