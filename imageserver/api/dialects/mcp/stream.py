"""A call whose answer is a stream: progress notifications, heartbeats, and the result last."""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from imageserver.api.dialects.mcp import calls
from imageserver.api.dialects.mcp.json_rpc import reply
from imageserver.api.generation.run import GenerationResult, Update
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.errors import ServiceError
from imageserver.protocol.messages import Progress, Queued, Started

# The official Python SDK reads no longer event (mcp 2.3, `DEFAULT_MAX_SSE_EVENT_SIZE`).
MAX_EVENT_BYTES = 2**20


@dataclass(frozen=True)
class CallStream:
    """The answer to the request `number`.

    The client wants progress under its `token`, if it sent one, and with `as_link` only the addresses of the images.
    With `limited`, images that are too large for an event are sent as links too.
    """

    service: Services
    number: int | str | None
    token: int | float | str | None
    as_link: bool
    limited: bool

    def frames(self, updates: Generator[Update]) -> Iterator[bytes]:
        """Yield the progress of a call, and its result."""
        reached = 0
        with contextlib.closing(updates):
            for update in updates:
                match update:
                    case Progress() if self.token is not None and update.step > reached:
                        # A new engine starts from the beginning, and progress must grow.
                        reached = update.step
                        progress = {"progressToken": self.token, "progress": update.step, "total": update.total}
                        yield _frame({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
                    case GenerationResult():
                        yield self._result_frame(update)
                    case None:
                        yield sse.HEARTBEAT_FRAME
                    case Queued() | Started():
                        # The head of the answer goes with its first bytes; the relay learns the job from it.
                        yield sse.comment("under way")

    def error_frame(self, error: ServiceError) -> bytes:
        """Return the result of a call that failed."""
        return _frame(reply(self.number, calls.error_result(error)))

    def _result_frame(self, result: GenerationResult) -> bytes:
        call = calls.finished(self.service, result, as_link=self.as_link)
        frame = _frame(reply(self.number, call.content(as_link=self.as_link)))
        if self.limited and len(frame) > MAX_EVENT_BYTES and call.addresses:
            sentence = "The image is too large for a message with progress, so it is a link; jpeg and webp are smaller."
            return _frame(reply(self.number, call.content(as_link=True, further=sentence)))
        return frame


def _frame(message: dict[str, Any]) -> bytes:
    return sse.frame(msgspec.json.encode(message).decode())
