"""The server's LoRA files, by name, with the settings that each recommends.

A LoRA is `NAME.safetensors` in `LORA_DIR` or in the package; a `NAME.json` beside it is its profile, without which a
published one may be known. Names are looked up in the listing of the folders, so no name can lead to another path.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from imageserver.errors import InvalidParameter
from imageserver.lora_profiles import LoraProfile, published_profile
from imageserver.settings import PACKAGE_DIR, Settings

PACKAGED = PACKAGE_DIR / "loras"
SUFFIX = ".safetensors"
CHUNK_BYTES = 4 * 1024 * 1024
MAX_PROFILE_BYTES = 100_000


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on the disk; `digest` names the content of its file and its profile."""

    name: str
    path: Path
    digest: str
    size: int
    profile: LoraProfile


class LoraFolder:
    """The folders that LoRAs are looked up in, the owner's before the package's."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._read: dict[tuple[tuple[Path, int, int] | None, ...], LoraFile] = {}

    def names(self) -> list[str]:
        return sorted(self._paths())

    def find(self, name: str) -> LoraFile:
        """Return a LoRA by its name; raises InvalidParameter for one that is missing or cannot be read.

        The whole file is read when it is new or has changed.
        """
        paths = self._paths()
        if name not in paths:
            known = ", ".join(sorted(paths)) or "none"
            raise InvalidParameter(f"loras: {ascii(name)[:100]} is not in LORA_DIR; there are: {known}.", param="loras")
        path, profile = paths[name], paths[name].with_suffix(".json")
        try:
            state = (_state(path), _state(profile))
            if state not in self._read:
                self._read[state] = _read(name, path, profile if state[1] else None)
        except OSError as error:
            raise InvalidParameter(f"loras: {name} cannot be read: {error.strerror}.", param="loras") from error
        return self._read[state]

    def _paths(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            if folder.is_dir():
                for path in folder.iterdir():
                    if path.suffix == SUFFIX and path.is_file():
                        found.setdefault(path.stem, path)
        return found


def open_folder(settings: Settings) -> LoraFolder:
    """Return the folder of the settings, with the package's after it."""
    return LoraFolder(settings.resolve(settings.lora_dir), PACKAGED)


def _state(path: Path) -> tuple[Path, int, int] | None:
    """Return the path, time and size of a file, which change with it; None for a missing file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return path, status.st_mtime_ns, status.st_size


def _read(name: str, path: Path, profile_path: Path | None) -> LoraFile:
    digest, profile_bytes = hashlib.sha256(), msgspec.json.encode(published_profile(name))
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    if profile_path is not None:
        with profile_path.open("rb") as content:
            profile_bytes = content.read(MAX_PROFILE_BYTES)
    digest.update(profile_bytes)
    try:
        profile = msgspec.json.decode(profile_bytes, type=LoraProfile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"loras: the profile {name}.json cannot be used: {error}.", param="loras") from error
    return LoraFile(name, path, digest.hexdigest(), path.stat().st_size, profile)
