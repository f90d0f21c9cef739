"""The answers of the chat completions: one JSON object, or the chunks of a stream.

Source: openai-python 3.52, `openai/types/chat/chat_completion.py` and `chat_completion_chunk.py`; `images` of a message
are OpenRouter's addition, which Open WebUI and others show.
"""

import base64
import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from flask import Response
from pydantic import Field

from imageserver.api import errors
from imageserver.api.dialects.chat.bodies import ReplyOptions
from imageserver.api.generation.openai_terms import tokens_of
from imageserver.api.generation.run import GenerationResult, Update
from imageserver.api.generation.save import save_all, urls_of
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.errors import ServiceError, StorageFull, StorageUnavailable
from imageserver.protocol.messages import Progress, Queued, Started

SENTENCE = 'This server generates images, not text: send "modalities": ["image", "text"] and describe an image.'
DONE = "[DONE]"


class ImageAddress(ResponseSchema):
    """A data URL."""

    url: str


class ChatImage(ResponseSchema):
    """One image of a message."""

    type: Literal["image_url"]
    image_url: ImageAddress
    index: int


class ChatMessage(ResponseSchema):
    """The answer; `content` links to the saved image, or says that this server generates no text."""

    role: Literal["assistant"]
    content: str
    refusal: None
    images: list[ChatImage]


class ChatChoice(ResponseSchema):
    """One image, or a sentence."""

    index: int
    message: ChatMessage
    logprobs: None
    finish_reason: Literal["stop"]
    seed: int | None = Field(description="The seed of its image.")


class ChatUsage(ResponseSchema):
    """Tokens that the model read, and those of the images that it generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(ResponseSchema):
    """A chat completion; seeds and warnings are additions of this server."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Unix seconds.")
    model: str
    system_fingerprint: None
    choices: list[ChatChoice]
    usage: ChatUsage
    warnings: list[str]


@dataclass(frozen=True)
class ChatAnswer:
    """One choice: its text, its image as a data URL, and the image's seed."""

    text: str
    image: str | None = None
    seed: int | None = None

    def message(self) -> dict[str, Any]:
        images = [] if self.image is None else [{"type": "image_url", "image_url": {"url": self.image}, "index": 0}]
        return {"role": "assistant", "content": self.text, "images": images}


@dataclass(frozen=True)
class Completion:
    """All that is answered to one request: a choice for each image, or one with a sentence."""

    answers: list[ChatAnswer]
    model: str
    usage: dict[str, int]
    warnings: list[str] = field(default_factory=list)


def sentence(model: str, warnings: list[str]) -> Completion:
    """Return the answer to a request for text."""
    return Completion([ChatAnswer(SENTENCE)], model, _usage(0, 0), warnings)


def completion_of(service: Services, result: GenerationResult, options: ReplyOptions) -> Completion:
    """Return the answer with the images of a finished request, as the client asked to get them."""
    links = [""] * len(result.files)
    images: Sequence[str | None] = [None] * len(result.files)
    if options.image_output != "images":
        links = _links(service, result, needed=options.image_output == "link")
    if options.image_output != "link":
        images = service.thread_pool.run(_data_urls, result)
    tokens = tokens_of(result.request, result.outcome, range(len(result.files)))
    return Completion(
        [ChatAnswer(*each) for each in zip(links, images, result.outcome.seeds, strict=True)],
        result.info.name if result.info else "",
        _usage(tokens.text + tokens.source, tokens.generated),
        result.warnings,
    )


def json_response(number: int, completion: Completion) -> Response:
    """Return the answer in one piece."""
    choices = [
        {
            "index": index,
            "message": answer.message() | {"refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "seed": answer.seed,
        }
        for index, answer in enumerate(completion.answers)
    ]
    body = {
        **_head(number, completion.model, "chat.completion"),
        "choices": choices,
        "usage": completion.usage,
        "warnings": completion.warnings,
    }
    # Python's own encoder takes five times as long for megabytes of base64.
    return Response(msgspec.json.encode(body), mimetype="application/json")


def frames(service: Services, number: int, updates: Generator[Update], options: ReplyOptions) -> Iterator[bytes]:
    """Yield the chunks of a stream, with comments about the progress before them."""
    with contextlib.closing(updates):
        for update in updates:
            match update:
                case None:
                    yield sse.HEARTBEAT_FRAME
                case Queued():
                    yield sse.comment(f"request {number} is queued, {update.position} ahead of it")
                case Started():
                    yield sse.comment("started")
                case Progress():
                    yield sse.comment(f"step {update.step} of {update.total}")
                case GenerationResult():
                    yield from chunks(number, completion_of(service, update, options), options)


def chunks(number: int, completion: Completion, options: ReplyOptions) -> Iterator[bytes]:
    """Yield an answer as the chunks of a stream, and its end."""
    head = _head(number, completion.model, "chat.completion.chunk")
    for index, answer in enumerate(completion.answers):
        choice = {"index": index, "delta": answer.message(), "finish_reason": None, "seed": answer.seed}
        yield _frame(head | {"choices": [choice], "warnings": completion.warnings})
        yield _frame(head | {"choices": [choice | {"delta": {}, "finish_reason": "stop"}], "warnings": []})
    if options.includes_usage:
        yield _frame(head | {"choices": [], "usage": completion.usage})
    yield sse.frame(DONE)


def error_frame(error: ServiceError) -> bytes:
    """Return what makes the SDKs raise their error in the middle of a stream."""
    return sse.frame(errors.openai(error))


def _head(number: int, model: str, kind: str) -> dict[str, Any]:
    # OpenRouter's clients read no answer without a fingerprint.
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
    }


def _usage(prompt: int, generated: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _frame(chunk: dict[str, Any]) -> bytes:
    return sse.frame(msgspec.json.encode(chunk).decode())


def _links(service: Services, result: GenerationResult, *, needed: bool) -> list[str]:
    try:
        return [f"![image]({address})" for address in urls_of(save_all(service, result))]
    except (StorageFull, StorageUnavailable) as error:
        if needed:
            raise
        result.warnings.append(f"The link is missing: {error.sentence}")
        return [""] * len(result.files)


def _data_urls(result: GenerationResult) -> list[str]:
    kind = result.request.output_options.mimetype
    return [f"data:{kind};base64,{base64.b64encode(data).decode()}" for data in result.files]
