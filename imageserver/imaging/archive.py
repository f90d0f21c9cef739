"""Pack several images into one ZIP file."""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence


def zip_images(named: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a ZIP file of (name, bytes) pairs, stored uncompressed: images are compressed already.

    Raises ValueError when two images have the same name.
    """
    if len({name for name, _ in named}) < len(named):
        raise ValueError("Every image in an archive needs a unique name.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in named:
            archive.writestr(name, data)
    return buffer.getvalue()


def stream_zip(named: Iterable[tuple[str, Callable[[], bytes | None]]]) -> Iterator[bytes]:
    """Yield a ZIP file in parts, each image read when it is its turn; one that reads as None is left out."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, read in named:
            data = read()
            if data is not None:
                archive.writestr(name, data)
                yield sink.emptied()
    yield sink.emptied()


class _Sink(io.RawIOBase):
    """Collects what is written until it is fetched; it cannot go back, so that sizes follow their files."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def emptied(self) -> bytes:
        content = bytes(self._written)
        self._written.clear()
        return content
