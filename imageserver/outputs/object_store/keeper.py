"""Keeps images in a bucket, and on the disk those that the bucket could not be given, until it can."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from imageserver.atomic_write import write_atomically
from imageserver.errors import NotFound, StorageUnavailable
from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.object_store.bucket import Away, Bucket
from imageserver.outputs.object_store.messages import PART_BYTES, Part
from imageserver.outputs.retention import MEBIBYTE
from imageserver.private_files import PRIVATE_FILE, make_private_folder

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
# Listing a bucket costs time and money.
SWEEP_INTERVAL_SECONDS = 600.0


class Keeper:
    """The saved images of one server; the store processes of its workers share `folder`."""

    def __init__(
        self, bucket: Bucket, folder: Path, *, unsent_mb: float, max_mb: float, max_age: float, redirects: bool = False
    ) -> None:
        self._bucket = bucket
        # Nothing that waits is deleted.
        self._unsent = OutputFolder(folder / "images", max_mb=float("inf"), max_age=float("inf"))
        self._unsent_mb, self._max_mb, self._max_age = unsent_mb, max_mb, max_age
        self._redirects = redirects
        self._folder = folder
        self._reason_file, self._swept_file = folder / "reason.txt", folder / "swept"
        self._is_proven = False
        # What the store has another image for.
        self._conflicts: set[str] = set()
        self._failures: Counter[str] = Counter()

    @property
    def obstacle(self) -> str:
        """Why images wait, in one sentence; empty while the store accepts them."""
        if not (reason := self._reason()):
            return ""
        waiting = len(self._waiting())
        return f"The store of OUTPUT_URL cannot be used: {reason}. Saved images that wait for it: {waiting}."

    def save(self, data: bytes, *, stem: str, extension: str) -> str:
        """Keep an image and return its name; raises StorageFull, StorageUnavailable."""
        # A store that is known to be away is tried by `maintain`: here each try could cost a client ten seconds.
        if not self._reason():
            try:
                return self._bucket.save(data, stem=stem, extension=extension)
            except Away as away:
                self._record(away)
        if self._waiting_bytes() + len(data) > self._unsent_mb * MEBIBYTE:
            raise StorageUnavailable(
                "The image was generated but could not be saved, because the store cannot be used and no more images "
                "may wait for it (OUTPUT_UNSENT_MB); let save_to_file be false to get the bytes instead.",
                retry_after=RETRY_SECONDS,
            )
        return self._unsent.save(data, stem=stem, extension=extension)

    def read(self, name: str, start: int, *, address_will_do: bool = False) -> tuple[Part, bytes]:
        """Return a part of an image, or the store's own address of it; raises NotFound, StorageUnavailable."""
        # One that vanishes meanwhile was sent.
        with contextlib.suppress(NotFound, OSError):
            data = self._unsent.open_image(name).read_bytes()
            return Part(size=len(data), address=""), data[start : start + PART_BYTES]
        try:
            size = self._bucket.size(name)
            if address_will_do and self._redirects and (address := self._bucket.address(name)):
                return Part(size=size, address=address), b""
            return Part(size=size, address=""), self._bucket.read(name, start)
        except Away as away:
            sentence = f"The image cannot be read at present: {away}."
            raise StorageUnavailable(sentence, retry_after=RETRY_SECONDS) from away

    def delete(self, name: str) -> None:
        """Delete an image, if it is there, also one that waits; raises StorageUnavailable."""
        self._unsent.delete(name)
        try:
            self._bucket.delete(name)
        except Away as away:
            sentence = f"The image cannot be deleted at present: {away}."
            raise StorageUnavailable(sentence, retry_after=RETRY_SECONDS) from away

    def maintain(self) -> None:
        """Send what waits, or find out whether the store accepts images."""
        try:
            self._do_alone(self._send_waiting, "lock")
        except Away as away:
            self._record(away)

    def sweep(self) -> None:
        """Delete what is over the limits, every ten minutes; in a large folder it takes as long as that."""
        try:
            self._do_alone(self._sweep_if_due, "sweep_lock")
        except Away as away:
            logger.warning("Old images cannot be deleted from the store: %s (%r).", away, away.__cause__)

    def _do_alone(self, work: Callable[[], None], lock: str) -> None:
        """Do it unless another process of this server does."""
        try:
            make_private_folder(self._folder)
            with FileLock(self._folder / lock, timeout=0, mode=PRIVATE_FILE, thread_local=False):
                work()
        except Timeout:
            pass
        except OSError as error:
            logger.error("The images that wait for the store cannot be looked after: %s.", error.strerror)

    def _send_waiting(self) -> None:
        sent = 0
        # Until none is left: others may have come to wait meanwhile.
        while waiting := self._waiting():
            sent += len(waiting)
            self._send(waiting)
        if not sent and (self._reason() or not self._is_proven):
            self._bucket.require()
        self._is_proven = True
        if self._reason():
            self._reason_file.unlink(missing_ok=True)
            logger.info("The store of OUTPUT_URL can be used again; %d images that waited are sent.", sent)

    def _send(self, files: list[Path]) -> None:
        for file in files:
            try:
                is_there = self._bucket.create_again(file.name, file.read_bytes())
            except (Away, OSError):
                self._failures[file.name] += 1
                raise
            if is_there:
                del self._failures[file.name]
                file.unlink()
            else:
                self._conflicts.add(file.name)
                logger.error("%s stays on the disk: the store has another image of this name.", file.name)

    def _sweep_if_due(self) -> None:
        if self._reason():
            return
        file = self._swept_file
        if not file.exists() or time.time() - file.stat().st_mtime >= SWEEP_INTERVAL_SECONDS:
            file.touch(mode=PRIVATE_FILE)
            self._bucket.sweep(max_mb=self._max_mb, max_age=self._max_age, now=time.time())

    def _waiting(self) -> list[Path]:
        """Return the images that wait, the oldest first, but none before another that failed less often."""
        files = [file for file in self._unsent.path.glob("[!.]*") if file.name not in self._conflicts]
        return sorted(files, key=lambda file: (self._failures[file.name], file))

    def _waiting_bytes(self) -> int:
        sizes = 0
        for file in self._waiting():
            # One that vanishes meanwhile was sent.
            with contextlib.suppress(FileNotFoundError):
                sizes += file.stat().st_size
        return sizes

    def _reason(self) -> str:
        """Return why images wait, as whichever process of this server found."""
        try:
            return self._reason_file.read_text()
        except OSError:
            return ""

    def _record(self, away: Away) -> None:
        if self._reason() != str(away):
            logger.error("The store of OUTPUT_URL cannot be used: %s (%r). Saved images wait.", away, away.__cause__)
            # Without a place for it, the other processes find out themselves.
            with contextlib.suppress(OSError):
                write_atomically(self._reason_file, str(away).encode(), private=True)
