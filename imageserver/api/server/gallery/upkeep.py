"""Keep the gallery in step with the saved images: delete what was deleted a minute ago, forget what is gone."""

import logging
import time

import gevent

from imageserver.api.services import Services
from imageserver.errors import ServiceError
from imageserver.outputs.gallery.gallery import Gallery

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
# To compare 10,000 names with a folder takes 20 ms of a thread.
COMPARE_SECONDS = 60.0


def start(service: Services) -> None:
    """Start in the background; without a gallery there are no favourites to keep."""
    if service.gallery is not None:
        # Until they are known, no image is deleted for its age.
        service.outputs.favourites = None
        gevent.spawn(_forever, service, service.gallery)


def _forever(service: Services, gallery: Gallery) -> None:
    compared = float("-inf")
    while True:
        try:
            service.outputs.favourites = gallery.favourites()
            delete_due(service, gallery)
            if time.monotonic() - compared >= COMPARE_SECONDS:
                compared = time.monotonic()
                forget_gone(service, gallery)
        except ServiceError as error:
            logger.warning("The gallery cannot be looked after: %s", error.sentence)
        except Exception:
            logger.exception("Looking after the gallery failed; it is tried again.")
        gevent.sleep(INTERVAL_SECONDS)


def delete_due(service: Services, gallery: Gallery) -> None:
    """Delete the images whose deletion can no longer be undone; raises StorageFull, StorageUnavailable."""
    names = gallery.due()
    for name in names:
        service.storage_threads.run(service.outputs.delete, name)
    _forget(service, gallery, names)


def forget_gone(service: Services, gallery: Gallery) -> None:
    """Forget what retention or a person deleted, and what is over the gallery's own limits; raises StorageFull."""
    for names in gallery.names():
        _forget(service, gallery, service.storage_threads.run(service.outputs.missing, names))
    while names := gallery.forget_excess():
        service.storage_threads.run(service.thumbnails.delete, names)
    service.storage_threads.run(service.thumbnails.maintain)


def _forget(service: Services, gallery: Gallery, names: list[str]) -> None:
    gallery.forget(names)
    if names:
        service.storage_threads.run(service.thumbnails.delete, names)
