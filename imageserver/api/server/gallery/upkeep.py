"""Keep the gallery in step with the saved images: delete what was deleted a minute ago, forget what is gone."""

import logging
import time
from collections.abc import Callable

import gevent

from imageserver.api.services import Services
from imageserver.errors import ServiceError
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.gallery.opening import open_abandoned_gallery

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
# To compare 10,000 names with a folder takes 20 ms of a thread.
COMPARE_SECONDS = 60.0
# A store that is away lets each deletion wait for half a minute.
MAX_REFUSED_AT_ONCE = 3

Step = Callable[[Services, Gallery], None]


class Upkeep:
    """Makes the steps of one worker; one that fails keeps no other from being made, and is logged once."""

    def __init__(self, service: Services, gallery: Gallery) -> None:
        self._service, self._gallery = service, gallery
        self._compared = float("-inf")
        self._failing: set[Step] = set()

    def run(self) -> None:
        """Advance for ever."""
        while True:
            self.advance()
            gevent.sleep(INTERVAL_SECONDS)

    def advance(self) -> None:
        """Make all steps that are due."""
        self._attempt(read_favourites)
        self._attempt(delete_due)
        if time.monotonic() - self._compared >= COMPARE_SECONDS:
            self._compared = time.monotonic()
            self._attempt(forget_gone)

    def finish_deletions(self) -> None:
        """Delete what was deleted while there was a gallery, then end."""
        while self._has_deleted():
            self._attempt(delete_due)
            gevent.sleep(INTERVAL_SECONDS)

    def _has_deleted(self) -> bool:
        try:
            return self._gallery.has_deleted()
        except ServiceError:
            return True

    def _attempt(self, step: Step) -> None:
        try:
            step(self._service, self._gallery)
        except Exception as error:
            if step not in self._failing:
                reason = error.sentence if isinstance(error, ServiceError) else "an error of this server."
                unexpected = None if isinstance(error, ServiceError) else error
                logger.warning("The gallery cannot be looked after: %s", reason, exc_info=unexpected)
            self._failing.add(step)
        else:
            self._failing.discard(step)


def start(service: Services) -> None:
    """Start in the background; without a gallery there are no favourites to keep."""
    if service.gallery is not None:
        # Until they are known, no image is deleted for its age.
        service.outputs.favourites = None
        gevent.spawn(Upkeep(service, service.gallery).run)
    elif (gallery := open_abandoned_gallery(service.settings)) is not None:
        gevent.spawn(Upkeep(service, gallery).finish_deletions)


def read_favourites(service: Services, gallery: Gallery) -> None:
    """Let the store know which images it keeps longer; raises StorageFull."""
    service.outputs.favourites = gallery.favourites()


def delete_due(service: Services, gallery: Gallery) -> None:
    """Delete the images whose deletion can no longer be undone, all that can be.

    Raises StorageFull, or StorageUnavailable where the store refuses some.
    """
    deleted: list[str] = []
    refusals: list[ServiceError] = []
    for name in gallery.due():
        try:
            service.storage_threads.run(service.outputs.delete, name)
        except ServiceError as error:
            refusals.append(error)
            if len(refusals) == MAX_REFUSED_AT_ONCE:
                break
        else:
            deleted.append(name)
    _forget(service, gallery, deleted)
    if refusals:
        raise refusals[-1]


def forget_gone(service: Services, gallery: Gallery) -> None:
    """Forget what retention or a person deleted, and what is over the gallery's own limits; raises StorageFull."""
    # All at once: whether a folder is the right one shows by how many of them it has.
    names = [name for some in gallery.names() for name in some]
    _forget(service, gallery, service.storage_threads.run(service.outputs.missing, names))
    while names := gallery.forget_excess():
        service.storage_threads.run(service.thumbnails.delete, names)
    service.storage_threads.run(service.thumbnails.maintain)


def _forget(service: Services, gallery: Gallery, names: list[str]) -> None:
    gallery.forget(names)
    if names:
        service.storage_threads.run(service.thumbnails.delete, names)
