"""A folder of images in a filesystem of fsspec."""

import contextlib
import errno
import itertools
import mimetypes
from datetime import datetime
from functools import cached_property
from typing import Any

from imageserver.errors import NotFound
from imageserver.outputs.folder import SERVED_NAME
from imageserver.outputs.naming import IMAGE, moment_of, numbered
from imageserver.outputs.object_store.messages import PART_BYTES
from imageserver.outputs.retention import MEBIBYTE

OPERATION_SECONDS = 10.0
# An image that waited has all the time that a slow line needs.
MIN_BYTES_PER_SECOND = 100_000
# Of a folder with a million images.
LISTING_SECONDS = 600.0
# How long the store's own address of an image is valid: a client follows a redirect at once.
ADDRESS_SECONDS = 60
PROBE = ".qwen-image-server"


class Away(Exception):
    """The filesystem did not do what it was asked; its text is a reason that strangers may read."""


class Bucket:
    """The folder that a URL such as s3://bucket/folder names; every method may raise Away."""

    def __init__(self, url: str) -> None:
        self._url = url

    def save(self, data: bytes, *, stem: str, extension: str) -> str:
        """Keep an image under the first free name and return that."""
        for number in itertools.count(1):
            name = numbered(stem, number, extension)
            if self.create(name, data):
                return name
        raise AssertionError("unreachable")

    def create(self, name: str, data: bytes, seconds: float = OPERATION_SECONDS) -> bool:
        """Keep an image under a name; return False where that is taken."""
        try:
            self._put(name, data, "create", seconds)
        except FileExistsError:
            return False
        except Away as away:
            # Of the stores that speak S3, only Amazon's says that a name is taken; s3fs calls the others' refusal this.
            if getattr(away.__cause__, "errno", None) != errno.EINVAL or not self._has(name):
                raise
            return False
        return True

    def create_again(self, name: str, data: bytes) -> bool:
        """Keep an image that may have arrived before, whole or in part; return False where the name is another's."""
        seconds = OPERATION_SECONDS + len(data) / MIN_BYTES_PER_SECOND
        if self.create(name, data, seconds):
            return True
        try:
            size = self.size(name)
            if not self._is_beginning(name, size, data):
                return False
        except NotFound as error:
            # It was deleted meanwhile, or is a folder.
            raise Away("it refuses the name of an image") from error
        if size < len(data):
            # A store without an atomic create keeps what came before the line broke.
            self._put(name, data, "overwrite", seconds)
        return True

    def size(self, name: str) -> int:
        """Return the bytes of an image; raises NotFound for every other name."""
        if SERVED_NAME.fullmatch(name):
            try:
                found = self._do("info", name)
            except FileNotFoundError:
                found = {"type": "nothing"}
            if found["type"] == "file":
                return int(found["size"])
        raise NotFound("There is no image of that name.", param="name")

    def read(self, name: str, start: int = 0) -> bytes:
        """Return at most PART_BYTES of an image from a position on; raises NotFound."""
        try:
            return bytes(self._do("cat_file", name, start=start, end=start + PART_BYTES))
        except FileNotFoundError:
            raise NotFound("There is no image of that name.", param="name") from None

    def delete(self, name: str) -> None:
        """Delete an image, if it is there."""
        with contextlib.suppress(NotFound, FileNotFoundError):
            # Not every filesystem says that there was nothing.
            self.size(name)
            self._do("rm_file", name)

    def address(self, name: str) -> str:
        """Return an address of an image that the store signs itself; empty where it cannot."""
        try:
            return str(self._do("sign", name, expiration=ADDRESS_SECONDS))
        except NotImplementedError:
            return ""

    def require(self) -> None:
        """Find out whether the store takes files, by one that stays there."""
        self._do("pipe_file", PROBE, b"qwen-image-server keeps images here.\n")

    def sweep(self, *, max_mb: float, max_age: float, now: float) -> int:
        """Delete images older than `max_age` seconds, then the oldest down to `max_mb` MiB; return how many."""
        try:
            listed = self._do("ls", "", detail=True, seconds=LISTING_SECONDS)
        except FileNotFoundError:
            return 0
        entries = {str(each["name"]).rpartition("/")[2]: each for each in listed}
        sizes = {name: int(each["size"] or 0) for name, each in entries.items() if IMAGE.fullmatch(name)}
        kept, deleted = sum(sizes.values()), 0
        for moment, name in sorted((_saved_at(name, entries[name]), name) for name in sizes):
            if now - moment > max_age or kept > max_mb * MEBIBYTE:
                # Another server of the same folder may be faster.
                with contextlib.suppress(FileNotFoundError):
                    self._do("rm_file", name)
                    deleted += 1
                kept -= sizes[name]
        return deleted

    def _put(self, name: str, data: bytes, mode: str, seconds: float) -> None:
        # Other filesystems name it otherwise, or guess it.
        kind = {"ContentType": mimetypes.guess_type(name)[0]} if self._url.startswith(("s3:", "s3a:")) else {}
        self._do("pipe_file", name, data, mode=mode, seconds=seconds, **kind)

    def _is_beginning(self, name: str, size: int, data: bytes) -> bool:
        """Return whether a file of this size is `data` or how that begins; raises NotFound."""
        ends = {start: min(start + PART_BYTES, size) for start in range(0, size, PART_BYTES)}
        return size <= len(data) and all(self.read(name, start) == data[start:end] for start, end in ends.items())

    def _has(self, name: str) -> bool:
        try:
            self.size(name)
        except NotFound:
            return False
        return True

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The filesystem, and the path of the folder in it."""
        from fsspec.core import url_to_fs

        filesystem, root = url_to_fs(self._url, skip_instance_cache=True)
        if not filesystem.async_impl:
            # A bucket has no folders, and the filesystems of buckets, which are asynchronous, would make the bucket.
            filesystem.makedirs(root, exist_ok=True)
        return filesystem, root.rstrip("/")

    def _do(self, operation: str, name: str, *args: Any, seconds: float = OPERATION_SECONDS, **options: Any) -> Any:
        """Run an operation of the filesystem on a file of the folder, within a time where that can be limited."""
        try:
            filesystem, root = self._opened
        except Exception as error:
            # Also where a file is in the way of the folder, which says nothing about the name.
            raise Away(_reason(error)) from error
        try:
            # Other servers change what was listed.
            filesystem.invalidate_cache()
            if filesystem.async_impl and operation != "sign":
                options["timeout"] = seconds
            return getattr(filesystem, operation)(f"{root}/{name}", *args, **options)
        except (FileExistsError, NotImplementedError):
            raise
        except FileNotFoundError as error:
            if operation != "pipe_file":
                raise
            raise Away(_reason(error)) from error
        except Exception as error:
            raise Away(_reason(error)) from error


def _saved_at(name: str, entry: dict[str, Any]) -> float:
    """Return when a listed image was saved, in Unix seconds; by its name where the filesystem does not say."""
    # S3's word, Azure's, and that of folders and SFTP.
    moment = next((entry[key] for key in ("LastModified", "last_modified", "mtime") if entry.get(key)), None)
    if isinstance(moment, datetime):
        return moment.timestamp()
    return moment if isinstance(moment, int | float) else moment_of(name)


def _reason(error: Exception) -> str:
    """Return what strangers may know."""
    if isinstance(error, FileNotFoundError):
        return "the bucket or folder does not exist"
    if isinstance(error, PermissionError):
        return "it refuses access"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return "it cannot be reached"
