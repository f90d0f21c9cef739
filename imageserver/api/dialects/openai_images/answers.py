"""What the OpenAI Images dialect answers: the JSON of finished pictures, and the events of a stream.

Source: openai-python 3.52, `openai/types/images_response.py` and `image_*_event.py`. Its streams give every event of
another type to the user as a picture without data, so progress travels as comments.
"""

import base64
import contextlib
import time
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any, Literal

import msgspec
from flask import Response
from pydantic import Field

from imageserver.api import errors, sse
from imageserver.api.answers import Answer
from imageserver.api.image_streams import encoded_preview
from imageserver.api.orders import Delivery, News, Order
from imageserver.api.saving import save_all, urls_of
from imageserver.api.services import Services
from imageserver.dispatch.client import Glimpse
from imageserver.errors import ServiceError
from imageserver.generation import Outcome, OutputFormat
from imageserver.messages import Progress, Queued, Started

# What the events of a stream are named after.
Kind = Literal["image_generation", "image_edit"]


class TokenDetails(Answer):
    """Tokens of text and of pictures."""

    text_tokens: int
    image_tokens: int


class Usage(Answer):
    """What was read and drawn, in tokens of the model; an answer from the cache tells what it took to draw it."""

    input_tokens: int = Field(description="Tokens of the prompt and of the picture to start from.")
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Tokens that the drawn pictures are made of.")
    output_tokens_details: TokenDetails
    total_tokens: int


class DrawnPicture(Answer):
    """One picture: either its base64 or its address."""

    b64_json: str | None = None
    url: str | None = None
    seed: int = Field(description="The seed that draws this picture again.")


class Images(Answer):
    """Finished pictures, as OpenAI answers them; seed, model, warnings and nsfw_detected are ours."""

    created: int = Field(description="Unix seconds.")
    data: list[DrawnPicture]
    background: Literal["opaque", "transparent"] = Field(description="Layers are transparent, but in jpeg.")
    output_format: OutputFormat
    quality: Literal["low", "medium", "high"] = Field(description="How it was drawn: high is every block computed.")
    size: str
    usage: Usage
    model: str | None
    warnings: list[str]
    nsfw_detected: bool | None = Field(description="Whether the safety checker blackened one; null without a checker.")


class ModelAnswer(Answer):
    """A model that draws."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str = Field(description="The model's family.")
    loaded: bool = Field(description="Whether it is in memory; otherwise the first request that names it loads it.")
    default: bool = Field(description="Whether it answers requests that name no model.")


class ModelListAnswer(Answer):
    """The models that draw."""

    object: Literal["list"]
    data: list[ModelAnswer]


# How the drawing was done, in OpenAI's words.
QUALITIES = {"exact": "high", "high": "medium", "fast": "low"}
DONE = "[DONE]"


def answer(service: Services, order: Order, delivery: Delivery, warnings: list[str], *, as_urls: bool) -> Response:
    """Answer a delivery; URLs are those of files saved for it. Raises StorageFull."""
    outcome = delivery.outcome
    if as_urls:
        pictures = [{"url": url} for url in urls_of(save_all(service, order, delivery))]
    else:
        pictures = [{"b64_json": text} for text in service.native_pool.run(_encoded, delivery.files)]
    body = {
        "created": int(time.time()),
        "data": [picture | {"seed": seed} for picture, seed in zip(pictures, outcome.seeds, strict=True)],
        **_described(order, outcome),
        "usage": _usage(order, outcome, range(len(pictures))),
        "model": delivery.facts.name if delivery.facts else None,
        "warnings": warnings + list(outcome.warnings),
        "nsfw_detected": outcome.nsfw_detected,
    }
    return Response(_as_json(body), mimetype="application/json")


def frames(service: Services, order: Order, news: Generator[News], warnings: list[str], kind: Kind) -> Iterator[bytes]:
    """Yield the events of a stream: partial images, the finished pictures, and comments on the way."""
    shown: Counter[int] = Counter()
    with contextlib.closing(news):
        for item in news:
            match item:
                case None:
                    yield sse.HEARTBEAT_FRAME
                case Queued():
                    yield sse.comment(f"request {order.number} is queued, {item.position} go before it")
                case Started():
                    # After the death of an engine everything begins again.
                    shown.clear()
                    yield sse.comment("started")
                case Progress():
                    yield sse.comment(f"step {item.step} of {item.total}")
                case Glimpse():
                    index = item.preview.index
                    yield _frame(_partial(service, order, item, kind, shown[index]))
                    shown[index] += 1
                case Delivery():
                    for event in _completed(service, order, item, warnings, kind):
                        yield _frame(event)
    yield sse.frame(DONE)


def say_error(error: ServiceError) -> bytes:
    """Return the event that makes the SDK raise its APIError in the middle of a stream."""
    return sse.frame({"type": "error"} | errors.openai(error), event="error")


def _frame(event: dict[str, Any]) -> bytes:
    return sse.frame(_as_json(event).decode(), event=event["type"])


def _as_json(body: dict[str, Any]) -> bytes:
    """Return JSON without looking at every letter of a picture: 3 ms for 4 MB, where Python's own takes 15."""
    return msgspec.json.encode(body)


def _partial(service: Services, order: Order, glimpse: Glimpse, kind: Kind, number: int) -> dict[str, Any]:
    return {
        "type": f"{kind}.partial_image",
        "b64_json": encoded_preview(service, order, glimpse),
        "partial_image_index": number,
        "created_at": int(time.time()),
        **_described(order),
        **_place(order.generation.count, glimpse.preview.index),
    }


def _completed(
    service: Services, order: Order, delivery: Delivery, warnings: list[str], kind: Kind
) -> Iterator[dict[str, Any]]:
    outcome = delivery.outcome
    for index, data in enumerate(delivery.files):
        yield {
            "type": f"{kind}.completed",
            "b64_json": service.native_pool.run(_encoded, (data,))[0],
            "created_at": int(time.time()),
            **_described(order, outcome),
            **_place(len(delivery.files), index),
            "usage": _usage(order, outcome, range(index, index + 1)),
            "seed": outcome.seeds[index],
            "model": delivery.facts.name if delivery.facts else None,
            "warnings": warnings + list(outcome.warnings),
            "nsfw_detected": outcome.nsfw_detected,
        }


def _described(order: Order, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return what the pictures of an order are like, for an answer and for every event."""
    generation = order.generation
    transparent = outcome is not None and outcome.channels == 4 and order.finish.output_format != "jpeg"
    return {
        "background": "transparent" if transparent else "opaque",
        "output_format": order.finish.output_format,
        "quality": QUALITIES[generation.quality],
        "size": f"{generation.width}x{generation.height}",
    }


def _place(count: int, index: int) -> dict[str, int]:
    """Return which of several pictures an event is about; OpenAI's own events know of one alone."""
    return {"image_index": index} if count > 1 else {}


def _usage(order: Order, outcome: Outcome, pictures: range) -> dict[str, Any]:
    """Return the tokens of some of the pictures; what was read counts for the first, so that the events add up."""
    # Every layer is a picture here.
    of_one = outcome.image_tokens // len(outcome.seeds)
    first = pictures.start == 0
    text = outcome.prompt_tokens if first else 0
    source = of_one if first and order.generation.source is not None else 0
    drawn = of_one * len(pictures)
    return {
        "input_tokens": text + source,
        "input_tokens_details": {"text_tokens": text, "image_tokens": source},
        "output_tokens": drawn,
        "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
        "total_tokens": text + source + drawn,
    }


def _encoded(files: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(data).decode() for data in files]
