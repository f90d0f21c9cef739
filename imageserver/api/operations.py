"""A view's declarations for the OpenAPI document: its body, its responses, its errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

V = TypeVar("V", bound=Callable[..., Any])

IMAGES = ("image/png", "image/jpeg", "image/webp")
EVENTS = "text/event-stream"
# The statuses with which a generation can fail.
GENERATING_ERRORS = (400, 404, 408, 413, 422, 429, 499, 500, 503, 504, 507)

# The headers of a generation that can be repeated safely.
REPEATABLE = {
    "headers": {"Idempotency-Key": "A unique name of this request; a retry with the same name gets the same images."}
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One view in the OpenAPI document.

    `body` is its JSON body; with `form` it also accepts the same as a form, with `files` as its file parts. `binary`
    are media types of bodies that are not parsed. `response` is its JSON; `media` are the other types it can return.
    `also` are statuses with the same response, such as 503 while loading, `empty` those without a body; `errors` are
    those with the dialect's error. A view that `counts` asks itself whether its client may have more images: only its
    body shows whether it asks for one.
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
    empty: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()
    counts: bool = False
    example: Any = None


def documented(**details: Any) -> Callable[[V], V]:
    """Attach an Operation to a view; summary and description come from the view's docstring."""

    def attach(view: V) -> V:
        view.operation = Operation(**details)  # type: ignore[attr-defined]
        return view

    return attach
