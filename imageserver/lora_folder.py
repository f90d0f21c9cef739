"""The server's LoRA files, by name, with the settings that each recommends.

A LoRA is `NAME.safetensors` in `LORA_DIR`, in a folder below it (`FOLDER/NAME`), or in the package; a `NAME.json`
beside it is its profile, without which a published one may be known. Names are looked up in the listing of the folders,
so no name can lead to another path.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from imageserver.errors import InvalidParameter
from imageserver.lora_metadata import LoraMetadata, read_metadata
from imageserver.lora_profiles import LoraProfile, published_profile
from imageserver.settings import PACKAGE_DIR, Settings

PACKAGED = PACKAGE_DIR / "loras"
SUFFIX = ".safetensors"
CHUNK_BYTES = 4 * 1024 * 1024
MAX_PROFILE_BYTES = 100_000


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on the disk; `digest` names the content of its file and its profile.

    `hub_id` is its `owner/repository:file` where it was fetched from a hub.
    """

    name: str
    path: Path
    digest: str
    size: int
    profile: LoraProfile
    metadata: LoraMetadata
    hub_id: str = ""


class LoraFolder:
    """The folders that LoRAs are looked up in, the owner's before the package's."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._read: dict[tuple[tuple[Path, int, int] | None, ...], LoraFile] = {}

    def names(self) -> list[str]:
        return sorted(self._paths())

    def named(self, name: str) -> str | None:
        """Return the name of a LoRA by its name or its id on a hub; None where there is none."""
        return _named(name, self._paths())

    def find(self, asked: str) -> LoraFile:
        """Return a LoRA by its name or its id on a hub; raises InvalidParameter for one that is missing or unreadable.

        The whole file is read when it is new or has changed.
        """
        paths = self._paths()
        name = _named(asked, paths)
        if name is None:
            known = ", ".join(sorted(paths)) or "none"
            raise InvalidParameter(
                f"loras: {ascii(asked)[:100]} is not in LORA_DIR; there are: {known}.", param="loras"
            )
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
            for path in _files_in(folder):
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        return found


def open_folder(settings: Settings) -> LoraFolder:
    """Return the folder of the settings, with the package's after it."""
    return LoraFolder(settings.resolve(settings.lora_dir), PACKAGED)


def _named(asked: str, paths: Mapping[str, Path]) -> str | None:
    """Return the name that is meant by itself, by `owner/repository` or by `owner/repository:file`."""
    if asked in paths:
        return asked
    repository, colon, file = asked.partition(":")
    if colon:
        wanted = f"{repository}/{file}"
        return next((name for name, path in paths.items() if wanted in (name, f"{name}{path.suffix}")), None)
    inside = [name for name in paths if name.startswith(f"{asked}/")] if asked.count("/") == 1 else []
    return inside[0] if len(inside) == 1 else None


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the LoRA files below a folder, but of folders that are hidden or links."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() == SUFFIX and path.is_file():
                yield path


def _state(path: Path) -> tuple[Path, int, int] | None:
    """Return the path, time and size of a file, which change with it; None for a missing file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return path, status.st_mtime_ns, status.st_size


def _read(name: str, path: Path, profile_path: Path | None) -> LoraFile:
    digest, profile_bytes = hashlib.sha256(), msgspec.json.encode(published_profile(path.stem))
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
    return LoraFile(
        name, path, digest.hexdigest(), path.stat().st_size, profile, read_metadata(path), _hub_id(name, path)
    )


def hub_mark(path: Path) -> Path:
    """Return the hidden file beside a LoRA that says that it was fetched from a hub."""
    return path.with_name(f".{path.name}.hub")


def _hub_id(name: str, path: Path) -> str:
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    return f"{owner}/{repository}:{file}" if file and hub_mark(path).is_file() else ""
