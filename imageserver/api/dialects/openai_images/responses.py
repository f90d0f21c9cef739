"""The responses of the OpenAI Images dialect: the JSON of finished images, and the events of a stream.

Source: openai-python 3.52, `openai/types/images_response.py` and `image_*_event.py`. Its streams pass every event
of another type on as an image without data, so progress is sent as comments.
"""

import base64
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from typing import Any, Literal

import msgspec
from flask import Response
from pydantic import Field

from imageserver.api import errors
from imageserver.api.dialects.openai_images.model_names import ImageField
from imageserver.api.generation.openai_terms import described, tokens_of
from imageserver.api.generation.previews import encoded_preview
from imageserver.api.generation.run import GenerationRequest, GenerationResult, Update
from imageserver.api.generation.save import save_all, urls_of
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import ServiceError, StorageFull, StorageUnavailable
from imageserver.generation import Outcome, OutputFormat
from imageserver.protocol.messages import Progress, Queued, Started

# The first part of the names of a stream's events.
EventPrefix = Literal["image_generation", "image_edit"]


class TokenDetails(ResponseSchema):
    """Tokens by kind."""

    text_tokens: int
    image_tokens: int


class ImagesUsage(ResponseSchema):
    """Tokens that the model read and generated; a cached response repeats those of its generation."""

    input_tokens: int = Field(description="Tokens of the prompt and of the input image.")
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Tokens of the generated images.")
    output_tokens_details: TokenDetails
    prompt_tokens: int = Field(description="The same as input_tokens, in OpenRouter's words.")
    completion_tokens: int = Field(description="The same as output_tokens.")
    total_tokens: int


class GeneratedImage(ResponseSchema):
    """One image, as base64 or as the address of a saved file."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(None, description="The prompt that `enhance` has written, left out without it.")
    seed: int = Field(description="The seed of this image.")


class ImagesResponse(ResponseSchema):
    """Finished images in OpenAI's format; seed, model, warnings and nsfw_detected are additions of this server."""

    created: int = Field(description="Unix seconds.")
    data: list[GeneratedImage]
    background: Literal["opaque", "transparent"] = Field(description="transparent for layers, except as jpeg.")
    output_format: OutputFormat
    quality: Literal["low", "medium", "high"] = Field(description="How it was generated: high computes every block.")
    size: str
    usage: ImagesUsage
    model: str | None
    warnings: list[str]
    nsfw_detected: bool | None = Field(description="Whether the safety checker blacked out an image; null without one.")


class OpenAIModel(ResponseSchema):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str = Field(description="The model's family.")
    loaded: bool = Field(description="Whether it is in memory; otherwise the next request that names it loads it.")
    default: bool = Field(description="Whether it is the default model.")
    alias_of: str | None = Field(description="For a name of OpenAI's: the model that it stands for.")


class OpenAIModelList(ResponseSchema):
    """The models."""

    object: Literal["list"]
    data: list[OpenAIModel]


DONE = "[DONE]"


def images_response(service: Services, result: GenerationResult, fields: Collection[ImageField]) -> Response:
    """Return the response to a finished request, each image in the `fields`.

    URLs are those of files saved for it; raises StorageFull or StorageUnavailable where there is nothing else to send.
    """
    generation_request, outcome = result.request, result.outcome
    images: list[dict[str, Any]] = [{} for _ in result.files]
    if "b64_json" in fields:
        _fill(images, "b64_json", service.thread_pool.run(_encoded, result.files))
    if "url" in fields:
        try:
            _fill(images, "url", urls_of(save_all(service, result)))
        except (StorageFull, StorageUnavailable) as error:
            if "b64_json" not in fields:
                raise
            result.warnings.append(f"url is missing: {error.sentence}")
    body = {
        "created": int(time.time()),
        "data": [image | {"seed": seed} | _revised(outcome) for image, seed in zip(images, outcome.seeds, strict=True)],
        **described(generation_request, outcome),
        "usage": _usage(generation_request, outcome, range(len(images))),
        "model": result.info.name if result.info else None,
        "warnings": result.warnings,
        "nsfw_detected": outcome.nsfw_detected,
    }
    return Response(_as_json(body), mimetype="application/json")


def _fill(images: list[dict[str, Any]], field: ImageField, values: list[str]) -> None:
    for image, value in zip(images, values, strict=True):
        image[field] = value


def frames(
    service: Services, generation_request: GenerationRequest, updates: Generator[Update], kind: EventPrefix
) -> Iterator[bytes]:
    """Yield the events of a stream: partial images, finished images, and comments about the progress."""
    shown: Counter[int] = Counter()
    with contextlib.closing(updates):
        for update in updates:
            match update:
                case None:
                    yield sse.HEARTBEAT_FRAME
                case Queued():
                    yield sse.comment(f"request {generation_request.number} is queued, {update.position} ahead of it")
                case Started():
                    # A new engine starts from the beginning.
                    shown.clear()
                    yield sse.comment("started")
                case Progress():
                    yield sse.comment(f"step {update.step} of {update.total}")
                case PreviewImage():
                    index = update.preview.index
                    yield _frame(_partial(service, generation_request, update, kind, shown[index]))
                    shown[index] += 1
                case GenerationResult():
                    # Mapped, so that an event is not kept beside its frame.
                    yield from map(_frame, _completed(service, update, kind))
    yield sse.frame(DONE)


def error_frame(error: ServiceError) -> bytes:
    """Return the event that makes the SDK raise its APIError in the middle of a stream."""
    return sse.frame({"type": "error"} | errors.openai(error), event="error")


def _frame(event: dict[str, Any]) -> bytes:
    return sse.frame(_as_json(event).decode(), event=event["type"])


def _as_json(body: dict[str, Any]) -> bytes:
    """Return JSON: 3 ms for 4 MB of base64, where Python's own encoder takes 15 ms."""
    return msgspec.json.encode(body)


def _partial(
    service: Services,
    generation_request: GenerationRequest,
    preview_image: PreviewImage,
    kind: EventPrefix,
    number: int,
) -> dict[str, Any]:
    return {
        "type": f"{kind}.partial_image",
        "b64_json": encoded_preview(service, generation_request, preview_image),
        "partial_image_index": number,
        "created_at": int(time.time()),
        **described(generation_request),
        **_index(generation_request.generation.count, preview_image.preview.index),
    }


def _completed(service: Services, result: GenerationResult, kind: EventPrefix) -> Iterator[dict[str, Any]]:
    generation_request, outcome = result.request, result.outcome
    for index, data in enumerate(result.files):
        yield {
            "type": f"{kind}.completed",
            "b64_json": service.thread_pool.run(_encoded, (data,))[0],
            "created_at": int(time.time()),
            **described(generation_request, outcome),
            **_index(len(result.files), index),
            "usage": _usage(generation_request, outcome, range(index, index + 1)),
            "seed": outcome.seeds[index],
            **_revised(outcome),
            "model": result.info.name if result.info else None,
            "warnings": result.warnings,
            "nsfw_detected": outcome.nsfw_detected,
        }


def _revised(outcome: Outcome) -> dict[str, str]:
    return {"revised_prompt": outcome.revised_prompt} if outcome.revised_prompt else {}


def _index(count: int, index: int) -> dict[str, int]:
    """Return the index of an event's image if there are several; OpenAI's own events have only one."""
    return {"image_index": index} if count > 1 else {}


def _usage(generation_request: GenerationRequest, outcome: Outcome, images: range) -> dict[str, Any]:
    tokens = tokens_of(generation_request, outcome, images)
    read = tokens.text + tokens.source
    return {
        "input_tokens": read,
        "input_tokens_details": {"text_tokens": tokens.text, "image_tokens": tokens.source},
        "output_tokens": tokens.generated,
        "output_tokens_details": {"image_tokens": tokens.generated, "text_tokens": 0},
        # Vercel's provider for OpenRouter reads no answer without these.
        "prompt_tokens": read,
        "completion_tokens": tokens.generated,
        "total_tokens": tokens.total,
    }


def _encoded(files: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(data).decode() for data in files]
