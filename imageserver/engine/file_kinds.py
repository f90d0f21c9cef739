"""What a file is by its first bytes, for the sentence about one that is not what its name says."""

from pathlib import Path

READ_BYTES = 512
LFS = b"version https://git-lfs"
# The beginnings of what people save under the name of a weight file.
KINDS = (
    (LFS, "is a pointer of Git LFS: the file itself was not downloaded (git lfs pull)"),
    (b"PK\x03\x04", "is a pickle or another zip archive; only safetensors files are read, as pickles can run code"),
    (b"\x80\x02", "is a pickle; only safetensors files are read, as pickles can run code"),
    (b"GGUF", "is a GGUF file"),
    (b"\x1f\x8b", "is a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it"),
    (b"Rar!", "is a rar archive: unpack it"),
    (b"\x89PNG", "is an image"),
    (b"\xff\xd8\xff", "is an image"),
)
WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")


def complaint(file: Path) -> str:
    """Return what a file is that has no readable safetensors header; raises OSError."""
    with file.open("rb") as content:
        start = content.read(READ_BYTES)
    if not start:
        return "is empty"
    if start.lstrip().lower().startswith(WEB_PAGES):
        return "is a web page: a login or error page was saved instead of the file"
    if start.startswith(b"{"):
        return "is a JSON text: an error message was saved instead of the file"
    return next((text for beginning, text in KINDS if start.startswith(beginning)), "has no readable header")
