"""The base of everything that crosses a process border."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Anything that travels between the HTTP workers, the dispatcher and the engines."""


class NumberedMessage(Message, frozen=True, kw_only=True):
    """A message about one job, or about one question, download or load, each by its number."""

    job: int
