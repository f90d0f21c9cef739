"""The requests of the last minute, by account; a restart forgets them."""

from collections import OrderedDict, deque
from collections.abc import Callable

from imageserver.errors import RateLimited

WINDOW_SECONDS = 60.0
# The longest silent accounts go first; one that has been silent for a minute has nothing to remember.
MAX_ACCOUNTS = 10_000


class RequestRates:
    """Counts requests in a window that moves: no minute, wherever it begins, has more than the limit."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moments: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, account: str, requests: int, limit: int) -> None:
        """Count requests that come together; raises RateLimited, which counts none."""
        moments = self._current(account)
        surplus = len(moments) + requests - limit
        if limit and surplus > 0:
            sentence = f"{limit} requests per minute are allowed (RATE_LIMIT_RPM)."
            if requests > limit:
                # Waiting does not help.
                raise RateLimited(f"{sentence} This one counts as {requests}.")
            raise RateLimited(sentence, retry_after=moments[surplus - 1] + WINDOW_SECONDS - self._clock())
        moments.extend([self._clock()] * requests)
        self._moments[account] = moments
        self._moments.move_to_end(account)
        while len(self._moments) > MAX_ACCOUNTS:
            self._moments.popitem(last=False)

    def use(self, account: str) -> tuple[int, float]:
        """Return the requests of the last minute, and the seconds until the oldest leaves it."""
        moments = self._current(account)
        return len(moments), moments[0] + WINDOW_SECONDS - self._clock() if moments else 0.0

    def _current(self, account: str) -> deque[float]:
        moments = self._moments.get(account, deque[float]())
        while moments and moments[0] <= self._clock() - WINDOW_SECONDS:
            moments.popleft()
        return moments
