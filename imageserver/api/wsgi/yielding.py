"""Let other clients in during long work on a greenlet."""

import gevent

# Not 0: then gevent runs other greenlets, but looks at no socket for up to 0.1 s.
YIELD_SECONDS = 1e-5


def yield_to_others() -> None:
    """Let the loop serve whoever is ready."""
    gevent.sleep(YIELD_SECONDS)
