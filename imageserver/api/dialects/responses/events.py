"""The events of a streamed response.

Source: openai-python 3.52, `openai/types/responses/response_stream_event.py`. Progress is sent as comments.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from typing import Any

import msgspec

from imageserver.api.dialects.responses import image_memory
from imageserver.api.dialects.responses.reply import (
    NO_TOKENS,
    SENTENCE,
    Reply,
    about,
    image_details,
    text_part,
    usage_of,
    warnings_about,
)
from imageserver.api.generation.openai_terms import described
from imageserver.api.generation.previews import encoded_preview
from imageserver.api.generation.run import GenerationRequest, GenerationResult, Update
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import ServiceError
from imageserver.protocol.messages import Progress, Queued, Started

CALL = "response.image_generation_call"


class Events:
    """The events of one response, numbered in their order."""

    def __init__(self, service: Services, reply: Reply, warnings: list[str]) -> None:
        self._service = service
        self._reply = reply
        self._warnings = warnings
        self._numbers = itertools.count()

    def of_sentence(self) -> Iterator[bytes]:
        """Yield the events of a response without an image."""
        yield from self._beginning()
        yield from self._message(SENTENCE, 0)
        output = [self._reply.message(SENTENCE)]
        yield self._completed(output=output, usage=NO_TOKENS, warnings=self._warnings)

    def of_image(self, request: GenerationRequest, updates: Generator[Update]) -> Iterator[bytes]:
        """Yield the events of an image: its call with partial images, then a message about it."""
        partial, has_begun = itertools.count(), False
        with contextlib.closing(updates):
            for update in updates:
                if not has_begun:
                    # Not before the first update, from which on a client that leaves is noticed.
                    has_begun = True
                    yield from self._beginning()
                    yield from self._beginning_of_call()
                match update:
                    case None:
                        yield sse.HEARTBEAT_FRAME
                    case Queued():
                        yield sse.comment(f"request {request.number} is queued, {update.position} ahead of it")
                    case Started():
                        # A new engine starts from the beginning.
                        partial = itertools.count()
                        yield self._of_call("generating")
                    case Progress():
                        yield sse.comment(f"step {update.step} of {update.total}")
                    case PreviewImage():
                        yield self._partial_image(request, update, next(partial))
                    case GenerationResult():
                        yield from self._finished(update)

    def error_frame(self, error: ServiceError) -> bytes:
        """Return the event of a failed response, with which the clients end the stream."""
        document = self._reply.document("failed", warnings=self._warnings, error=error)
        return self._event("response.failed", response=document)

    def _beginning(self) -> Iterator[bytes]:
        for state in ("created", "in_progress"):
            yield self._event(f"response.{state}", response=self._reply.document("in_progress"))

    def _beginning_of_call(self) -> Iterator[bytes]:
        yield self._event("response.output_item.added", output_index=0, item=self._reply.image_call("in_progress"))
        yield self._of_call("in_progress")

    def _partial_image(self, request: GenerationRequest, image: PreviewImage, number: int) -> bytes:
        encoded = encoded_preview(self._service, request, image)
        return self._of_call(
            "partial_image", partial_image_b64=encoded, partial_image_index=number, **described(request)
        )

    def _finished(self, result: GenerationResult) -> Iterator[bytes]:
        reply, text = self._reply, about(result)
        if reply.echo.store:
            image_memory.keep(self._service, reply.ids, result)
        call = reply.image_call("completed", **image_details(self._service, result))
        yield self._of_call("completed")
        yield self._event("response.output_item.done", output_index=0, item=call)
        yield from self._message(text, 1)
        output = [call, reply.message(text)]
        yield self._completed(output=output, usage=usage_of(result), warnings=warnings_about(result))

    def _message(self, text: str, index: int) -> Iterator[bytes]:
        """Yield the events of a message, which is complete at once."""
        message, part = self._reply.message(text), text_part(text)
        begun = message | {"status": "in_progress", "content": []}
        place = {"item_id": message["id"], "output_index": index, "content_index": 0}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield self._event("response.content_part.added", **place, part=text_part(""))
        yield self._event("response.output_text.delta", **place, delta=text, logprobs=[])
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=index, item=message)

    def _completed(self, **details: Any) -> bytes:
        return self._event("response.completed", response=self._reply.document("completed", **details))

    def _of_call(self, state: str, **details: Any) -> bytes:
        return self._event(f"{CALL}.{state}", output_index=0, item_id=self._reply.ids.image_call, **details)

    def _event(self, kind: str, **details: Any) -> bytes:
        event = {"type": kind, "sequence_number": next(self._numbers)} | details
        # Python's own encoder takes five times as long for megabytes of base64.
        return sse.frame(msgspec.json.encode(event).decode(), event=kind)
