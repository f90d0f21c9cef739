"""What the command `models` asks of the engine's packages, in a process of its own, and what that answers in lines."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from imageserver.settings import Settings


@dataclass(frozen=True)
class StorageRequest:
    """What to do with the models on the disk; `name` is that of the model to download or to remove."""

    action: Literal["list", "pull", "remove"]
    name: str = ""

    def write(self, settings: Settings) -> str:
        return json.dumps({"request": asdict(self), "settings": settings.model_dump(mode="json")})


@dataclass(frozen=True, kw_only=True)
class StorageAnswer:
    """A line of the answer: how far a download is, an `error` for the user, or what was asked for."""

    progress: str | None = None
    fraction: float | None = None
    error: str | None = None
    models: list[dict[str, Any]] | None = None
    removed_bytes: int | None = None
    folder: str | None = None

    def write(self) -> str:
        return json.dumps(asdict(self))


def read_request(text: str) -> tuple[StorageRequest, Settings]:
    """Return what `StorageRequest.write` has written."""
    content = json.loads(text)
    return StorageRequest(**content["request"]), Settings.model_validate(content["settings"])


def read_answer(line: str) -> StorageAnswer | None:
    """Return the answer in a line of output, None where a library has written it."""
    try:
        return StorageAnswer(**json.loads(line))
    except (ValueError, TypeError):
        return None
