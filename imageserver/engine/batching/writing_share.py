"""How long prompts are written between two forwards."""

import time
from collections.abc import Callable

# Of the last forward's seconds: images beside it take at most half as long again, or a token a forward.
SHARE = 0.5
# A cancel waits no longer for the next look at the messages, however long forwards take.
MAX_SECONDS = 0.1


class WritingShare:
    """The time that one prompt is written for before the next forward: for one token at least."""

    def __init__(self) -> None:
        self.last_forward = 0.0

    def write(self, write_token: Callable[[], None], is_writing: Callable[[], bool], *, beside_images: bool) -> None:
        """Write tokens until the share is used up, one alone where no image waits for a forward."""
        until = time.monotonic() + min(SHARE * self.last_forward, MAX_SECONDS) * beside_images
        write_token()
        while is_writing() and time.monotonic() < until:
            write_token()
