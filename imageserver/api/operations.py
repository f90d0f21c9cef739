"""What a view says of itself for the API's document: its body, its answers, its errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

V = TypeVar("V", bound=Callable[..., Any])

IMAGES = ("image/png", "image/jpeg", "image/webp")
EVENTS = "text/event-stream"
# How a request that generates can fail.
GENERATING_ERRORS = (400, 404, 408, 413, 422, 429, 499, 500, 503, 504, 507)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One view as the API's document tells it.

    `body` is what it takes as JSON; with `form` it takes the same as a form, `files` being its file parts. `binary` are
    media types that it takes as they are. `response` is its JSON; `media` are the other types it may answer. `also`
    are statuses that carry the same answer, such as 503 while loading; `errors` carry the dialect's error.
    """

    body: type[BaseModel] | None = None
    form: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    binary: tuple[str, ...] = ()
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Any = None
    media: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()
    example: Any = None


def documented(**facts: Any) -> Callable[[V], V]:
    """Attach an Operation to a view; its sentences come from the view's docstring."""

    def attach(view: V) -> V:
        view.operation = Operation(**facts)  # type: ignore[attr-defined]
        return view

    return attach
