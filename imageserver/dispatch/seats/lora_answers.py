"""One answer about LoRAs from several seats that hold the same model."""

from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import Failed, LorasLoaded, Message


class LoraAnswers:
    """Waits for the answers of `count` engines; what one of them could do counts as done."""

    def __init__(self, listener: Listener, count: int) -> None:
        self._listener = listener
        self._missing = count
        self._names: list[str] = []
        self._answered: LorasLoaded | None = None
        self._failure: Message | None = None

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Receive the answer of one engine, and send the last one on with the names of all."""
        self._missing -= 1
        if isinstance(message, LorasLoaded):
            self._names += [name for name in message.names if name not in self._names]
            self._answered = LorasLoaded(job=message.job, names=tuple(self._names))
        elif isinstance(message, Failed):
            self._failure = message
        if self._missing == 0 and (answer := self._answered or self._failure):
            self._listener.send(answer)
