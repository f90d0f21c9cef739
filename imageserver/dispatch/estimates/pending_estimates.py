"""Forecasts that wait for the engine to say what it would read of the prompts."""

import asyncio

import msgspec

from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import Estimate, TokenCounts

# The engine answers between two forwards; one that takes long is not waited for.
TIMEOUT_SECONDS = 2.0


class PendingEstimates:
    """Who waits, by the number of the question."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Listener, Estimate, asyncio.TimerHandle]] = {}

    def wait(self, listener: Listener, forecast: Estimate) -> None:
        """Send the forecast when the engine has answered, or without its answer when that takes too long."""
        give_up = asyncio.get_running_loop().call_later(TIMEOUT_SECONDS, self._tell, forecast.job, None)
        self._waiting[forecast.job] = (listener, forecast, give_up)

    def take(self, message: TokenCounts) -> None:
        """Complete the forecast that waits for this."""
        self._tell(message.job, message)

    def _tell(self, job: int, inspected: TokenCounts | None) -> None:
        listener, forecast, give_up = self._waiting.pop(job, (None, None, None))
        if listener is not None and forecast is not None and give_up is not None:
            give_up.cancel()
            listener.send(msgspec.structs.replace(forecast, inspected=inspected))
