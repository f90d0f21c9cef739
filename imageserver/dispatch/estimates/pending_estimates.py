"""Estimates that wait for the engine to count the tokens of their prompts."""

import asyncio

import msgspec

from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import Estimate, Message, TokenCounts

# The engine counts between two forwards; one that takes long is not waited for.
TOKEN_COUNT_TIMEOUT_SECONDS = 2.0


class PendingEstimate:
    """Receives the engine's answer, and sends the estimate with it; without it where that fails or takes too long."""

    def __init__(self, estimate: Estimate, listener: Listener) -> None:
        self._estimate = estimate
        self._listener: Listener | None = listener
        self._timer = asyncio.get_running_loop().call_later(TOKEN_COUNT_TIMEOUT_SECONDS, self._resolve, None)

    def send(self, message: Message, raw: bytes = b"") -> None:
        self._resolve(message if isinstance(message, TokenCounts) else None)

    def _resolve(self, token_counts: TokenCounts | None) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.send(msgspec.structs.replace(self._estimate, token_counts=token_counts))
            self._listener = None
