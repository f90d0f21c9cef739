"""The base of everything that crosses a process border."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Anything that travels between the HTTP workers, the dispatcher and the engines."""

    @property
    def max_raw_bytes(self) -> int:
        """How many raw bytes may follow it; a kind of message that carries pixels computes it from their size."""
        return 0


class NumberedMessage(Message, frozen=True, kw_only=True):
    """A message about one job, or about one question, download or load, each by its number."""

    job: int
